"""Make the key of a throwaway restic repository cheap to derive.

restic spends half a second of CPU on each command to make guessing passwords dear. A test repository has nothing to
guess: its key is wrapped anew with the smallest scrypt parameters. Formats: restic's design document, "Keys, Encryption
and MAC" (scrypt to 64 bytes: AES-256 key, then k and r of Poly1305-AES; data is nonce, AES-256-CTR text, MAC).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

CHEAP = {"N": 2, "r": 1, "p": 1}


def make_key_cheap(repository: Path, password: str) -> None:
    """Replace the only key of a repository by one that opens at once with the same password."""
    (path,) = (repository / "keys").iterdir()
    key = json.loads(path.read_text())
    master = open_sealed(derive(key, password), base64.b64decode(key["data"]))
    cheap = {**key, **CHEAP, "salt": base64.b64encode(os.urandom(64)).decode()}
    cheap["data"] = base64.b64encode(seal(derive(cheap, password), master)).decode()
    content = json.dumps(cheap).encode()
    (path.parent / hashlib.sha256(content).hexdigest()).write_bytes(content)
    path.chmod(0o600)
    path.unlink()


def derive(key: dict[str, Any], password: str) -> bytes:
    salt = base64.b64decode(key["salt"])
    return hashlib.scrypt(password.encode(), salt=salt, n=key["N"], r=key["r"], p=key["p"], maxmem=1 << 30, dklen=64)


def mac_of(derived: bytes, nonce: bytes, text: bytes) -> bytes:
    block = Cipher(algorithms.AES(derived[32:48]), modes.ECB()).encryptor()
    return Poly1305.generate_tag(derived[48:] + block.update(nonce), text)


def crypt(derived: bytes, nonce: bytes, text: bytes) -> bytes:
    return Cipher(algorithms.AES(derived[:32]), modes.CTR(nonce)).encryptor().update(text)


def open_sealed(derived: bytes, data: bytes) -> bytes:
    nonce, text, mac = data[:16], data[16:-16], data[-16:]
    assert mac_of(derived, nonce, text) == mac, "not the key, or not the format, that this was written for"
    return crypt(derived, nonce, text)


def seal(derived: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(16)
    text = crypt(derived, nonce, plain)
    return nonce + text + mac_of(derived, nonce, text)
