"""Who may connect: what each side of a connection shows, and the answer to it (ZAP, ZeroMQ RFC 27).

A listening socket that is secured belongs to a *domain*. ZeroMQ asks this process about everybody who connects there,
before any message of theirs: with CURVE about the key that they have proven to hold, with PLAIN about the study and its
secret. So whoever can read nothing of the run directory cannot say a word, however long or malformed.

`zmq.auth` is not used: it compares passwords in a time that depends on them, writes them into its log at the level
DEBUG, and its handler is a function in the oldest release that we support and a coroutine in the present one.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

from melissa_like.errors import TransportError
from melissa_like.protocol.keys import Credentials, KeyPair
from melissa_like.transport.zmq_sockets import Socket

__all__ = ["Entry", "answer", "entry_for", "make_key_pair", "require_curve", "secure", "show"]

_VERSION = b"1.0"
_ADMITTED, _REFUSED, _FAULTY = b"200", b"400", b"500"
_REQUEST_FRAMES = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """What opens a domain.

    Attributes:
        mechanism: `CURVE` or `PLAIN`.
        shown: with CURVE the public key, 32 bytes; with PLAIN name and password.
    """

    mechanism: bytes
    shown: tuple[bytes, ...] = field(repr=False)

    def admits(self, mechanism: bytes, shown: Sequence[bytes]) -> bool:
        """Whether this opens it; the time that it takes says nothing about what would."""
        if mechanism != self.mechanism or len(shown) != len(self.shown):
            return False
        right = [hmac.compare_digest(*pair) for pair in zip(shown, self.shown, strict=True)]
        return all(right)


def entry_for(credentials: Credentials, key: str | None) -> Entry:
    """What a domain of a study asks for.

    Args:
        credentials: of the process that listens.
        key: the public key of who may come; None: the connection is not encrypted, and who knows the secret may.
    """
    if key is None:
        return Entry(b"PLAIN", _name_and_password(credentials))
    return Entry(b"CURVE", (z85.decode(key.encode()),))


def answer(request: Sequence[bytes], entries: Mapping[bytes, Entry]) -> tuple[list[bytes], bytes | None]:
    """The reply to a ZAP request, and the domain that refuses, if it does."""
    if len(request) < _REQUEST_FRAMES or request[0] != _VERSION:
        number = request[1] if len(request) > 1 else b""
        return [_VERSION, number, _FAULTY, b"not a request of ZAP 1.0", b"", b""], None
    _, number, domain, _, _, mechanism, *shown = request
    entry = entries.get(domain)
    if entry is not None and entry.admits(mechanism, shown):
        return [_VERSION, number, _ADMITTED, b"OK", b"", b""], None
    return [_VERSION, number, _REFUSED, b"not of this study", b"", b""], domain


def secure(socket: Socket, domain: bytes, credentials: Credentials, *, encrypts: bool) -> None:
    """Before a socket is bound: let nobody connect without the domain's leave.

    Args:
        socket: that will listen.
        domain: to which it belongs.
        credentials: of this process.
        encrypts: what comes is encrypted for this process.
    """
    socket.setsockopt(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # if nobody answered for the domain, nobody would get in
    if not encrypts:
        socket.setsockopt(zmq.PLAIN_SERVER, 1)
        return
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, _own(credentials).secret.encode())


def show(socket: Socket, credentials: Credentials, listener: str | None) -> None:
    """Before a socket connects: what it shows to whom it connects to.

    Args:
        socket: that will connect.
        credentials: of this process.
        listener: the public key of who listens there, so that nobody else can read or answer; None: the connection is
            not encrypted.
    """
    if listener is None:
        name, password = _name_and_password(credentials)
        socket.setsockopt(zmq.PLAIN_USERNAME, name)
        socket.setsockopt(zmq.PLAIN_PASSWORD, password)
        return
    own = _own(credentials)
    socket.setsockopt(zmq.CURVE_SERVERKEY, listener.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())


def require_curve() -> None:
    """Refuse where ZeroMQ cannot encrypt.

    Raises:
        TransportError: it was built without CURVE.
    """
    if not zmq.has("curve"):
        raise TransportError(
            f"the ZeroMQ {zmq.zmq_version()} of this Python was built without CURVE, by which control messages are "
            "encrypted: install pyzmq as a wheel (pip install --only-binary=:all: pyzmq), or set "
            "transport.encryption=none on a network where nobody else is"
        )


def make_key_pair() -> KeyPair:
    """A new pair.

    Raises:
        TransportError: ZeroMQ was built without CURVE.
    """
    require_curve()
    public, secret = zmq.curve_keypair()
    return KeyPair(public=public.decode(), secret=secret.decode())


def _own(credentials: Credentials) -> KeyPair:
    assert credentials.keys is not None, "an encrypted connection needs keys"
    return credentials.keys.own


def _name_and_password(credentials: Credentials) -> tuple[bytes, bytes]:
    return credentials.study.hex().encode(), credentials.secret.hex().encode()
