"""How the cost of gigafetch grows: with the number of files, the workers, the size of bodies, the lag.

One figure changes, the others stay: 100 bytes, depth 16, one worker, no lag.
"""
from .contenders import SINKS, gigafetch
from .servers import Served

MIB = 1 << 20
DEPTH = 16
COUNTS = (10**4, 10**5, 10**6, 10**7)
WORKERS = (1, 2, 4, 8, 16)
SIZES = (0, 100, 1000, 10_000, 100_000, MIB)
LAGS = (0, 1, 5, 20, 50)


def _fits(sink, files, size, free):
    """Whether so many files take at most a third of what is free, on tmpfs."""
    each = {"files": (size + 4095) // 4096 * 4096 + 1200, "tar": size + 1024, "tar+zstd1": size * 3 // 4 + 256}
    return files * each[sink] < free // 3


def contenders(build, quick, most_files, free):
    """`free`: bytes that the file system under test may take."""
    def one(curve, value, sink, files, size=100, lag=0, workers=1, cores=1):
        return gigafetch(build, sink, DEPTH, workers, Served("origin", files, size, lag),
                         name=f"growth {curve} {value} {sink}", cores=cores)

    limit = min(most_files, 10**6 if quick else 10**7)
    whole = min(most_files, 50_000 if quick else 200_000)
    packed = min(most_files, 3 * whole)
    for sink in SINKS:
        for files in COUNTS:
            # A folder of millions of files is the subject of another page: the curve of `files` ends at 10^6.
            if files <= limit and _fits(sink, files, 100, free) and (sink != "files" or files <= 10**6):
                yield one("count", files, sink, files)
        for workers in WORKERS:
            yield one("workers", workers, sink, whole if sink == "files" else packed, workers=workers, cores=2)
        for size in SIZES:
            files = min(whole, max(500, (256 if quick else 1024) * MIB // max(size, 1)))
            if _fits(sink, files, size, free):
                yield one("size", size, sink, files, size=size)
        for lag in LAGS:
            yield one("lag", lag, sink, max(1, whole // 4), lag=lag)
