"""Content codings as servers apply them; those that Python lacks come from their libraries."""
import ctypes
import gzip
import zlib


def zstd(body, level=3):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    room = library.ZSTD_compressBound(ctypes.c_size_t(len(body)))
    out = ctypes.create_string_buffer(room)
    size = library.ZSTD_compress(out, ctypes.c_size_t(room), body, ctypes.c_size_t(len(body)), level)
    return out.raw[:size]


def brotli(body):
    library = ctypes.CDLL("libbrotlienc.so.1")
    out = ctypes.create_string_buffer(len(body) + 1024)
    size = ctypes.c_size_t(len(out))
    assert library.BrotliEncoderCompress(5, 22, 0, ctypes.c_size_t(len(body)), body, ctypes.byref(size), out)
    return out.raw[:size.value]


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODINGS = {
    "gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd, "br": brotli,
}
