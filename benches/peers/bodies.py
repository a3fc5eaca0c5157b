"""Batch bodies in files: a new one begins where a batch would be full, each is durable when it is closed."""

import os

ROWS_MAX = 100_000
BYTES_MAX = 256_000_000
HEAD = b'{"requests":['
TAIL = b"]}"


class Bodies:
    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.file = None
        self.files = self.rows = self.bytes = self.total = self.written = 0

    def push(self, row):
        if self.rows == ROWS_MAX or self.bytes + len(row) + 1 + len(TAIL) > BYTES_MAX:
            self.close()
        if self.file is None:
            self.file = self.open_next()
            self.file.write(HEAD)
            self.bytes = len(HEAD)
        else:
            self.file.write(b",")
        self.file.write(row)
        self.rows += 1
        self.total += 1
        self.bytes += len(row) + 1

    def open_next(self):
        self.files += 1
        path = os.path.join(self.directory, f"{self.files - 1:05}.json")
        return open(path, "xb", buffering=1 << 20)

    def close(self):
        if self.file is not None:
            self.file.write(TAIL)
            self.file.flush()
            os.fsync(self.file.fileno())
            self.written += self.file.tell()
            self.file.close()
        self.file = None
        self.rows = self.bytes = 0

    def finish(self):
        self.close()
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return self.total, self.written
