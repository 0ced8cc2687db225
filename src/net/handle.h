// Handles of libuv that are made with new: it needs their memory until their close callback.
#pragma once

#include <uv.h>

namespace gigafetch::net {

// Closes `handle`, whose callbacks come no more, and frees it when libuv has let go of it.
template <typename Handle>
void close_and_free(Handle* handle) {
  handle->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(handle),
           [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
}

}  // namespace gigafetch::net
