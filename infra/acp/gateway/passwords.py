"""Password and secret hashes: scrypt, computed in a thread, because it releases the interpreter lock."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from concurrent.futures import ThreadPoolExecutor

BLOCK_SIZE = 8
PARALLELISM = 1
KEY_BYTES = 32

_hashers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrypt")


def hash_password(password: str, cost: int) -> str:
    """Hash a password with a fresh salt as `scrypt$N$salt$key`; `cost` is scrypt's N, a power of two."""
    salt = os.urandom(16)
    return f"scrypt${cost}${_text(salt)}${_text(_derive(password, salt, cost))}"


def verify_password(password: str, stored: str) -> bool:
    """Whether a password is the one behind a stored hash. A hash of another scheme matches nothing."""
    scheme, _, rest = stored.partition("$")
    if scheme != "scrypt":
        return False
    cost, salt, key = rest.split("$")
    return hmac.compare_digest(_derive(password, base64.b64decode(salt), int(cost)), base64.b64decode(key))


async def hash_in_thread(password: str, cost: int) -> str:
    return await asyncio.get_running_loop().run_in_executor(_hashers, hash_password, password, cost)


async def verify_in_thread(password: str, stored: str) -> bool:
    return await asyncio.get_running_loop().run_in_executor(_hashers, verify_password, password, stored)


def _derive(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=BLOCK_SIZE, p=PARALLELISM, dklen=KEY_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
