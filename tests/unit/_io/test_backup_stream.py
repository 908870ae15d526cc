"""How a dump is cut into pieces and framed, so that tar can read it and restic finds again what was there before."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile

from plugins.module_utils._io.backup_stream import PIECE_BYTES, pieces_of, write_member


def lines(count: int) -> bytes:
    """Return text as of a table, other bytes in each line."""
    return b"".join(hashlib.md5(str(i).encode()).hexdigest().encode() + b"\n" for i in range(count))


def test_the_pieces_are_the_stream() -> None:
    for data in (
        b"",
        b"x",
        bytes(PIECE_BYTES),
        bytes(2 * PIECE_BYTES + 5),
        lines(1_000_000),
        random.Random(1).randbytes(PIECE_BYTES * 2),
    ):
        pieces = [bytes(piece) for piece in pieces_of(io.BytesIO(data))]
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def test_cuts_come_back_to_the_same_places_after_an_insertion() -> None:
    text = lines(2_000_000)
    before = {hashlib.sha256(piece).digest() for piece in pieces_of(io.BytesIO(text))}
    after = {
        hashlib.sha256(piece).digest()
        for piece in pieces_of(io.BytesIO(text[:1000] + b"one more line\n" + text[1000:]))
    }
    assert len(before) > 6 and len(after - before) == 1


def test_tar_reads_the_members() -> None:
    content = {"manifest.json": b"{}", "dump.part.000000": bytes(513), "empty": b"", "block": b"x" * 512}
    archive = io.BytesIO()
    for name, data in content.items():
        write_member(archive, name, data)
    archive.write(bytes(1024))
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        assert {one.name: tar.extractfile(one).read() for one in tar} == content  # type: ignore[union-attr]
