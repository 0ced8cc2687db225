#include "origin/service.h"

#include <doctest/doctest.h>

#include <charconv>
#include <vector>

#include "origin/catalogue_text.h"

using namespace gigafetch;
using namespace gigafetch::testing;
using namespace gigafetch::origin;
using gigafetch::net::AfterReply;

namespace {

struct Reply {
  AfterReply after = AfterReply::keep;
  int status = 0;
  std::string head, body;
  size_t length = 0;  // as announced

  bool has(const std::string& field) const {
    return head.find("\r\n" + field + "\r\n") != head.npos;
  }
};

Reply ask(Service& service, std::string_view target, bool is_get = true) {
  http::Request request;
  request.target = target;
  request.is_get = is_get;
  std::string out = "before";
  Reply reply;
  reply.after = service.on_request(request, out);
  CHECK(out.starts_with("before"));
  out.erase(0, 6);
  if (out.empty()) return reply;
  CHECK(out.starts_with("HTTP/1.1 "));
  std::from_chars(out.data() + 9, out.data() + 12, reply.status);
  const size_t end = out.find("\r\n\r\n");
  CHECK(end != std::string::npos);
  reply.head = out.substr(0, end + 2);
  reply.body = out.substr(end + 4);
  const std::string field = "\r\nContent-Length: ";
  const size_t at = reply.head.find(field);
  CHECK(at != std::string::npos);
  std::from_chars(reply.head.data() + at + field.size(), reply.head.data() + reply.head.size(),
                  reply.length);
  return reply;
}

std::string page(const Catalogue& catalogue, uint64_t first, uint64_t end,
                 const std::string& marker) {
  std::string json = "{\"FileNames\":[";
  for (uint64_t i = first; i < end; ++i) {
    json += (i == first ? "\"" : ",\"") + name_of(catalogue, i) + "\"";
  }
  json += "]";
  if (!marker.empty()) json += ",\"NextMarker\":\"" + marker + "\"";
  return json + "}";
}

}  // namespace

TEST_CASE("a listing goes page by page to the one without a marker") {
  const Catalogue catalogue(25, 100, 1);
  Service service(catalogue, 10, {}, 1);
  const Reply first = ask(service, "/list");
  CHECK(first.status == 200);
  CHECK(first.after == AfterReply::keep);
  CHECK(first.has("Content-Type: application/json"));
  CHECK(first.length == first.body.size());
  CHECK(first.body == page(catalogue, 0, 10, "n10"));
  CHECK(ask(service, "/list?next-marker=n10").body == page(catalogue, 10, 20, "n20"));
  CHECK(ask(service, "/list?next-marker=n20").body == page(catalogue, 20, 25, ""));
  CHECK(ask(service, "/list?").body == first.body);
}

TEST_CASE("a last page that is full has no marker, nor has a single page") {
  const Catalogue catalogue(20, 100, 1);
  Service tens(catalogue, 10, {}, 1), whole(catalogue, 20, {}, 1), larger(catalogue, 1000, {}, 1);
  CHECK(ask(tens, "/list?next-marker=n10").body == page(catalogue, 10, 20, ""));
  CHECK(ask(whole, "/list").body == page(catalogue, 0, 20, ""));
  CHECK(ask(larger, "/list").body == page(catalogue, 0, 20, ""));
}

TEST_CASE("pages of one name") {
  const Catalogue catalogue(3, 100, 1);
  Service service(catalogue, 1, {}, 1);
  CHECK(ask(service, "/list").body == page(catalogue, 0, 1, "n1"));
  CHECK(ask(service, "/list?next-marker=n2").body == page(catalogue, 2, 3, ""));
}

TEST_CASE("an empty catalogue has one empty page") {
  const Catalogue catalogue(0, 100, 1);
  Service service(catalogue, 10, {}, 1);
  const Reply reply = ask(service, "/list");
  CHECK(reply.status == 200);
  CHECK(reply.body == "{\"FileNames\":[]}");
}

TEST_CASE("a marker may come percent-encoded") {
  const Catalogue catalogue(25, 100, 1);
  Service service(catalogue, 10, {}, 1);
  CHECK(ask(service, "/list?next-marker=%6E1%30").body == page(catalogue, 10, 20, "n20"));
}

TEST_CASE("a marker that was never given is refused") {
  const Catalogue catalogue(25, 100, 1);
  Service service(catalogue, 10, {}, 1);
  for (const char* query :
       {"next-marker=", "next-marker=n", "next-marker=10", "next-marker=x10", "next-marker=n25",
        "next-marker=n-1", "next-marker=n+1", "next-marker=n1x", "next-marker=n 1",
        "next-marker=n18446744073709551616", "next-marker=n18446744073709551615",
        "next-marker=n5&x=y", "marker=n10", "x", "NEXT-MARKER=n10"}) {
    CAPTURE(std::string(query));
    const Reply reply = ask(service, "/list?" + std::string(query));
    CHECK(reply.status == 400);
    CHECK(reply.length == 0);
    CHECK(reply.after == AfterReply::keep);
  }
}

TEST_CASE("every listed name can be fetched, with the body of the catalogue") {
  const Catalogue catalogue(100, 100, 9);
  Service service(catalogue, 10, {}, 1);
  for (uint64_t i = 0; i < 100; ++i) {
    const std::string name = name_of(catalogue, i);
    const Reply reply = ask(service, "/get/" + name);
    CHECK(reply.status == 200);
    CHECK(reply.after == AfterReply::keep);
    CHECK(reply.length == 100);
    CHECK(reply.body == body_of(catalogue, name));
    CHECK_FALSE(reply.has("Connection: close"));
  }
}

TEST_CASE("files without bytes are served as such") {
  const Catalogue catalogue(1, 0, 1);
  Service service(catalogue, 10, {}, 1);
  const Reply reply = ask(service, "/get/" + name_of(catalogue, 0));
  CHECK(reply.status == 200);
  CHECK(reply.length == 0);
  CHECK(reply.body.empty());
}

TEST_CASE("what is not there is not found") {
  const Catalogue catalogue(10, 100, 1);
  Service service(catalogue, 10, {}, 1);
  const std::string name = name_of(catalogue, 0);
  for (const std::string& target :
       {std::string("/"), std::string("/get"), std::string("/get/"), std::string("/get/x"),
        "/get/" + name_of(catalogue, 10), "/get/" + name + "?x", "/get//" + name, "/got/" + name,
        std::string("/lists"), std::string("/list/"), std::string("list"), std::string("")}) {
    CAPTURE(target);
    const Reply reply = ask(service, target);
    CHECK(reply.status == 404);
    CHECK(reply.length == 0);
    CHECK(reply.after == AfterReply::keep);
  }
}

TEST_CASE("only GET is allowed") {
  const Catalogue catalogue(10, 100, 1);
  Service service(catalogue, 10, {}, 1);
  for (const std::string& target : {std::string("/list"), "/get/" + name_of(catalogue, 0)}) {
    const Reply reply = ask(service, target, false);
    CHECK(reply.status == 405);
    CHECK(reply.has("Allow: GET"));
    CHECK(reply.length == 0);
  }
}

TEST_CASE("a fault at rate 1 meets every file, and no page") {
  const Catalogue catalogue(10, 100, 1);
  const std::string name = name_of(catalogue, 3), target = "/get/" + name,
                    body = body_of(catalogue, name);
  const auto faulty = [&](double Faults::*fault, const auto& check) {
    Faults faults;
    faults.*fault = 1;
    Service service(catalogue, 10, faults, 1);
    for (int i = 0; i < 20; ++i) {
      check(ask(service, target));
      const Reply listed = ask(service, "/list");
      CHECK(listed.status == 200);
      CHECK(listed.after == AfterReply::keep);
      CHECK(listed.body == page(catalogue, 0, 10, ""));
      CHECK(ask(service, "/get/x").status == 404);
    }
  };
  faulty(&Faults::error, [](const Reply& reply) {
    CHECK(reply.status == 500);
    CHECK(reply.length == 0);
    CHECK(reply.after == AfterReply::keep);
  });
  faulty(&Faults::throttle, [](const Reply& reply) {
    CHECK(reply.status == 429);
    CHECK(reply.has("Retry-After: 1"));
    CHECK(reply.after == AfterReply::keep);
  });
  faulty(&Faults::busy, [](const Reply& reply) {
    CHECK(reply.status == 503);
    CHECK(reply.length == 0);
    CHECK_FALSE(reply.head.find("Retry-After") != std::string::npos);
    CHECK(reply.after == AfterReply::keep);
  });
  faulty(&Faults::reset, [](const Reply& reply) {
    CHECK(reply.status == 0);
    CHECK(reply.after == AfterReply::reset);
  });
  faulty(&Faults::truncate, [&](const Reply& reply) {
    CHECK(reply.status == 200);
    CHECK(reply.length == 100);
    CHECK(reply.body == body.substr(0, 50));
    CHECK_FALSE(reply.has("Connection: close"));
    CHECK(reply.after == AfterReply::close);
  });
  faulty(&Faults::stall, [&](const Reply& reply) {
    CHECK(reply.status == 200);
    CHECK(reply.length == 100);
    CHECK(reply.body == body.substr(0, 50));
    CHECK(reply.after == AfterReply::stall);
  });
  faulty(&Faults::close, [&](const Reply& reply) {
    CHECK(reply.status == 200);
    CHECK(reply.body == body);
    CHECK(reply.has("Connection: close"));
    CHECK(reply.after == AfterReply::close);
  });
}

TEST_CASE("without faults none happens") {
  const Catalogue catalogue(10, 100, 1);
  Service service(catalogue, 10, {}, 1);
  for (int i = 0; i < 1000; ++i) {
    const Reply reply = ask(service, "/get/" + name_of(catalogue, 3));
    CHECK(reply.status == 200);
    CHECK(reply.after == AfterReply::keep);
  }
}

TEST_CASE("a fault at a rate meets about that share of the requests, drawn anew for each") {
  const Catalogue catalogue(10, 16, 1);
  const std::string target = "/get/" + name_of(catalogue, 3);
  constexpr int kRequests = 10'000;
  Faults faults;
  faults.error = 0.3;
  Service service(catalogue, 10, faults, 12345), same(catalogue, 10, faults, 12345),
      other(catalogue, 10, faults, 54321);
  int errors = 0, as_same = 0, as_other = 0, twice = 0;
  bool last = false;
  for (int i = 0; i < kRequests; ++i) {
    const bool failed = ask(service, target).status == 500;
    errors += failed ? 1 : 0;
    as_same += failed == (ask(same, target).status == 500) ? 1 : 0;
    as_other += failed == (ask(other, target).status == 500) ? 1 : 0;
    twice += failed && last ? 1 : 0;
    last = failed;
  }
  // Ten standard deviations: the draws are fixed by the seed, so this cannot fail by chance.
  CHECK(errors > kRequests * 0.25);
  CHECK(errors < kRequests * 0.35);
  CHECK(as_same == kRequests);
  CHECK(as_other < kRequests * 0.7);
  CHECK(twice > kRequests * 0.06);
  CHECK(twice < kRequests * 0.12);
}

TEST_CASE("all faults together leave every reply one of theirs, or whole") {
  const Catalogue catalogue(10, 100, 1);
  const std::string name = name_of(catalogue, 3), body = body_of(catalogue, name);
  Faults faults{0.2, 0.2, 0.2, 0.2, 0.2, 0.2};
  Service service(catalogue, 10, faults, 99);
  int errors = 0, throttles = 0, resets = 0, truncations = 0, stalls = 0, closes = 0, whole = 0;
  for (int i = 0; i < 5000; ++i) {
    const Reply reply = ask(service, "/get/" + name);
    if (reply.after == AfterReply::reset) {
      CHECK(reply.status == 0);
      ++resets;
    } else if (reply.status == 500) {
      ++errors;
    } else if (reply.status == 429) {
      ++throttles;
    } else if (reply.after == AfterReply::stall) {
      CHECK(reply.body.size() < body.size());
      ++stalls;
    } else if (reply.body.size() < body.size()) {
      CHECK(reply.after == AfterReply::close);
      CHECK_FALSE(reply.has("Connection: close"));
      ++truncations;
    } else if (reply.after == AfterReply::close) {
      CHECK(reply.has("Connection: close"));
      CHECK(reply.body == body);
      ++closes;
    } else {
      CHECK(reply.status == 200);
      CHECK(reply.body == body);
      ++whole;
    }
  }
  for (const int count : {errors, throttles, resets, truncations, stalls, closes, whole}) {
    CHECK(count > 100);
  }
}

TEST_CASE("every 429 and 503 carries the Retry-After that was asked for") {
  const Catalogue catalogue(10, 100, 1);
  const std::string target = "/get/" + name_of(catalogue, 3);
  const auto reply_with = [&](Faults faults, uint32_t retry_after) {
    faults.retry_after = retry_after;
    Service service(catalogue, 10, faults, 1);
    return ask(service, target);
  };
  Faults throttled, busy, limited;
  throttled.throttle = busy.busy = 1;
  limited.max_rate = 1e-9;
  CHECK(reply_with(throttled, 7).has("Retry-After: 7"));
  CHECK(reply_with(throttled, 0).has("Retry-After: 0"));
  CHECK(reply_with(busy, 7).has("Retry-After: 7"));
  limited.retry_after = 7;
  Service service(catalogue, 10, limited, 1);
  CHECK(ask(service, target).status == 200);
  const Reply refused = ask(service, target);
  CHECK(refused.status == 429);
  CHECK(refused.has("Retry-After: 7"));
}

TEST_CASE("files are served at a rate, in small bursts, and pages at any") {
  const Catalogue catalogue(10, 16, 1);
  const std::string target = "/get/" + name_of(catalogue, 3);
  Faults faults;
  faults.max_rate = 1000;
  TimePoint now{Millis(5'000)};
  Service service(catalogue, 10, faults, 1, false, [&] { return now; });
  const auto served = [&](int asked) {
    int whole = 0;
    for (int i = 0; i < asked; ++i) {
      const Reply reply = ask(service, target);
      whole += reply.status == 200 ? 1 : 0;
      if (reply.status == 200) continue;
      CHECK(reply.status == 429);
      CHECK(reply.length == 0);
      CHECK(reply.head.find("Retry-After") == std::string::npos);
      CHECK(reply.after == AfterReply::keep);
    }
    return whole;
  };
  CHECK(served(10) == 1);
  CHECK(ask(service, "/list").status == 200);
  CHECK(ask(service, "/get/x").status == 404);
  now += Millis(10);
  CHECK(served(100) == 10);
  now += Millis(60'000);
  CHECK(served(100) == 50);
  int whole = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    now += Millis(1);
    whole += served(3);
  }
  CHECK(whole >= 999);
  CHECK(whole <= 1000);
}

TEST_CASE("a rate below one a second still serves one at a time") {
  const Catalogue catalogue(10, 16, 1);
  const std::string target = "/get/" + name_of(catalogue, 3);
  Faults faults;
  faults.max_rate = 0.5;
  TimePoint now{Millis(5'000)};
  Service service(catalogue, 10, faults, 1, false, [&] { return now; });
  CHECK(ask(service, target).status == 200);
  now += Millis(1'900);
  CHECK(ask(service, target).status == 429);
  now += Millis(200);
  CHECK(ask(service, target).status == 200);
}

TEST_CASE("requests are counted when that is asked for") {
  const Catalogue catalogue(10, 16, 1);
  Faults faults;
  faults.busy = 0.5;
  Service service(catalogue, 10, faults, 7, true);
  const auto counts = [&] {
    const Reply reply = ask(service, "/count");
    CHECK(reply.status == 200);
    CHECK(reply.has("Content-Type: application/json"));
    CHECK(reply.length == reply.body.size());
    return reply.body;
  };
  CHECK(counts() == R"({"requests":0,"names":0,"most":0,"answered":0})");
  int whole = 0;
  for (int i = 0; i < 7; ++i) {
    whole += ask(service, "/get/" + name_of(catalogue, i == 0 ? 5 : 9)).status == 200 ? 1 : 0;
  }
  ask(service, "/get/x");
  ask(service, "/list");
  CHECK(whole > 0);
  CHECK(whole < 7);
  CHECK(counts() ==
        R"({"requests":7,"names":2,"most":6,"answered":)" + std::to_string(whole) + "}");
  Service silent(catalogue, 10, {}, 1);
  CHECK(ask(silent, "/count").status == 404);
}

TEST_CASE("an answer that is not whole does not count as one") {
  const Catalogue catalogue(10, 16, 1);
  const std::string target = "/get/" + name_of(catalogue, 3);
  for (double Faults::*fault :
       {&Faults::truncate, &Faults::stall, &Faults::error, &Faults::reset, &Faults::throttle}) {
    Faults faults;
    faults.*fault = 1;
    Service service(catalogue, 10, faults, 1, true);
    ask(service, target);
    CHECK(ask(service, "/count").body == R"({"requests":1,"names":1,"most":1,"answered":0})");
  }
  Faults faults;
  faults.close = 1;
  Service service(catalogue, 10, faults, 1, true);
  ask(service, target);
  CHECK(ask(service, "/count").body == R"({"requests":1,"names":1,"most":1,"answered":1})");
}
