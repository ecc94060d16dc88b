"""Which addresses count as public."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkfetch.addresses import is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::",
    "2606:4700::1111",
    "3ffe::1",
    "::ffff:1.1.1.1",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.255.255", "fc00::1", "fdff::1"],
    "carrier NAT": ["100.64.0.0", "100.127.255.255"],
    "link-local": ["169.254.0.1", "fe80::1", "febf::1", "fe80::1%eth0"],
    "metadata": ["169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192"],
    "metadata in a public range": ["168.63.129.16"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "broadcast": ["255.255.255.255", "240.0.0.1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "relays": ["192.88.99.1", "2001::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "compatible": ["::127.0.0.1", "::8.8.8.8"],
    "translated": ["::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::"],
    "not given out": ["4000::1", "8000::1", "fec0::1", "100::1", "5f00::1"],
    "scope": ["2606:4700::1111%eth0"],
    "another notation": ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "1.1.1.1 ", "[::1]", "1.1.1.1/32"],
    "no address": ["", "localhost", "example.org", "1.2.3.4.5", "\u0661.1.1.1", "::g"],
}  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address", [pytest.param(a, id=f"{k} {a}") for k, v in NOT_PUBLIC.items() for a in v]
)
def test_not_public(address):
    assert not is_public(address)


@given(st.one_of(st.ip_addresses(), st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_never_wider_than_the_standard_library(address):
    embedded = is_public(str(address)) and isinstance(address, IPv6Address) and not address.is_global
    if embedded:  # an IPv4 address inside, which is judged by itself
        assert str(address).startswith(("::ffff:", "64:ff9b::", "2002:"))
    elif is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_every_way_to_embed_an_address_is_judged_by_it(address):
    number = int(address)
    for wrapped in ((0xFFFF << 32) + number, (0x64FF9B << 96) + number, (0x2002 << 112) + (number << 80)):
        assert is_public(str(IPv6Address(wrapped))) == is_public(str(address))


@given(st.text())
def test_any_text_is_answered(text):
    if is_public(text):
        assert isinstance(ipaddress.ip_address(text), IPv4Address | IPv6Address)
