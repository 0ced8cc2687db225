#include "base/escape.h"
#include "listing/dialect.h"
#include "listing/marker_dialect.h"

namespace gigafetch::listing {

Result<std::unique_ptr<Dialect>> make_dialect(std::string_view name, std::string_view base_path) {
  if (name == "marker") return std::unique_ptr<Dialect>(new MarkerDialect(base_path));
  return error(ErrorCode::usage, "--api '{}' is not known; there is: marker", printable(name));
}

}  // namespace gigafetch::listing
