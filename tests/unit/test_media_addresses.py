"""Hosts and addresses that media may come from: what is listed, what is public, and nothing by a trick.

Names are resolved by the tests, and every connection goes to a loopback port.
"""

import ipaddress

import httpx
import pytest

from framewise.core.errors import MediaError, MediaForbidden, MediaUnavailable
from framewise.media.addresses import MediaHosts, Network, as_address, checked_url, host_of, shown
from tests.media_help import Names, read
from tests.web_server import Page

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "2606:2800:220:1:248:1893:25c8:1946"

# Every special-purpose block of https://www.iana.org/assignments/iana-ipv4-special-registry and its IPv6 sister that is not
# for the whole world, and IPv6 addresses in which an IPv4 address of such a block is hidden.
NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "100::1", "2001:db8::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::93.184.216.34", "64:ff9b::127.0.0.1", "64:ff9b::a00:1",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:5db8:d822::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "4000::1",
]  # fmt: skip
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
]


@pytest.mark.parametrize("address", [*NOT_PUBLIC, *METADATA, "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"])
@pytest.mark.parametrize("hosts", [(), ("*",), ("media.example", "192.168.7.0/24")])
def test_an_address_that_is_not_public_is_not_reached_unless_it_is_listed(address, hosts):
    assert not MediaHosts(hosts).may_reach(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [PUBLIC, OTHER_PUBLIC, "1.1.1.1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_a_public_address_is_reached(address):
    assert MediaHosts(()).may_reach(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("192.168.1.7", ["192.168.1.7", "::ffff:192.168.1.7"], ["192.168.1.8"]),
        ("192.168.1.0/24", ["192.168.1.1", "::ffff:192.168.1.1"], ["192.168.2.1"]),
        ("127.0.0.0/8", ["127.0.0.1"], ["10.0.0.1"]),
        ("fd12::/16", ["fd12::1"], ["fd13::1"]),
        ("[::1]", ["::1"], ["127.0.0.1"]),
    ],
)
def test_a_listed_address_or_network_is_reached(entry, inside, outside):
    hosts = MediaHosts([entry])
    assert all(hosts.may_reach(ipaddress.ip_address(a)) and hosts.may_ask(a) for a in inside)
    assert not any(hosts.may_reach(ipaddress.ip_address(a)) or hosts.may_ask(a) for a in outside)


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_service_is_reached_only_if_it_is_listed_word_for_word(address):
    network = str(ipaddress.ip_network(f"{address}/16" if "." in address else f"{address}/32", strict=False))
    assert not MediaHosts([network, "0.0.0.0/0", "::/0", "*"]).may_reach(ipaddress.ip_address(address))
    assert MediaHosts([address]).may_reach(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "asked", "not_asked"),
    [
        ("media.example", ["media.example"], ["a.media.example", "example", "xmedia.example", "media.example.org"]),
        ("*.example.org", ["a.example.org", "a.b.example.org"], ["example.org", "aexample.org", "a.example.org.evil.net"]),
        ("*", ["media.example", PUBLIC, "localhost"], []),
        ("bücher.example", ["xn--bcher-kva.example"], ["bucher.example"]),
        ("*.bücher.example", ["a.xn--bcher-kva.example"], ["xn--bcher-kva.example"]),
        ("media.example", [], [PUBLIC, "127.0.0.1"]),
    ],
)
def test_names_that_may_be_asked(entry, asked, not_asked):
    hosts = MediaHosts([entry])
    assert all(hosts.may_ask(host) for host in asked)
    assert not any(hosts.may_ask(host) for host in not_asked)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://MEDIA.Example/", "media.example"),
        ("http://media.example./", "media.example"),
        ("http://good.example@evil.example/", "evil.example"),
        ("http://good.example:80@evil.example/", "evil.example"),
        ("http://good.example%2f@evil.example/", "evil.example"),
        ("http://evil.example#@good.example/", "evil.example"),
        ("http://evil.example?@good.example/", "evil.example"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://127。0。0。1/", "127.0.0.1"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
    ],
)
def test_what_is_the_host_of_an_address(url, host):
    checked = checked_url(url)
    assert host_of(checked) == host
    assert not checked.userinfo


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example\\@evil.example/",
        "http://evil.example\\.good.example/",
        "http:\\\\evil.example/a.mp4",
        "http://evil.example\t.good.example/",
        "http://evil.example%2f.good.example/",
        "http://a b.example/",
        "http://[fe80::1%25eth0]/",
        "http://[::1]good.example/",
        "http://ｅｖｉｌ.example/",
        "http://①②⑦.0.0.1/",
        "http://evil.example:0/",
        "http://evil.example:65536/",
        "http://evil.example:80:80/",
        "http:///a.mp4",
        "http:a.mp4",
        "//evil.example/a.mp4",
        "javascript:alert(1)",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_none(url):
    with pytest.raises(MediaError, match="is not an address"):
        checked_url(url)


@pytest.mark.parametrize("text", ["2130706433", "0177.0.0.1", "127.1", "0x7f.0.0.1", "0x7f000001", "127.0.0.1"])
def test_other_spellings_of_a_number_are_that_number(text, library, server):
    assert as_address(text) == ipaddress.ip_address("127.0.0.1")
    with pytest.raises(MediaError, match="leads to an address that is not public|is not an address"):
        read(library(hosts=("*",)), f"http://{text}:{server.port}/a.mp4")
    with pytest.raises(MediaError, match="is not allowed|is not an address"):
        read(library(hosts=("media.example",)), f"http://{text}.:{server.port}/a.mp4")
    assert server.requests == []


@pytest.mark.parametrize(
    "host", ["[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]", "0.0.0.0", "0"]
)
def test_no_spelling_of_this_machine_gets_around_the_list(library, server, host):
    names = Names()
    with pytest.raises(MediaForbidden, match="leads to an address that is not public"):
        read(library(hosts=("*",), network=names.network), f"http://{host}:{server.port}/a.mp4")
    assert names.connected == []


# Names, as the name service answers them.


def test_any_public_host_may_be_allowed(library, server):
    names = Names({"media.example": [PUBLIC]}, {PUBLIC: server.port})
    server.pages["/a.mp4"] = Page(b"some video")
    assert read(library(hosts=("*",), network=names.network), "http://media.example/a.mp4").data == b"some video"
    assert server.requests[0][1]["host"] == "media.example"


def test_a_name_that_leads_to_a_private_address_is_not_asked(library, server):
    names = Names({"media.example": ["10.0.0.7"]}, {"10.0.0.7": server.port})
    with pytest.raises(MediaForbidden, match=r"'media\.example' leads to an address that is not public.*MEDIA_HOSTS") as caught:
        read(library(hosts=("media.example", "*"), network=names.network), "http://media.example/a.mp4")
    assert "10.0.0.7" not in str(caught.value)
    assert names.connected == []


def test_a_name_that_leads_to_a_listed_address_is_asked(library, server):
    names = Names({"minio.example": ["10.0.0.7"]}, {"10.0.0.7": server.port})
    server.pages["/a.mp4"] = Page(b"some video")
    media = library(hosts=("minio.example", "10.0.0.0/24"), network=names.network)
    assert read(media, "http://minio.example/a.mp4").data == b"some video"


def test_one_private_answer_among_public_ones_is_enough_to_refuse(library, server):
    names = Names({"media.example": [PUBLIC, "127.0.0.1"]}, {PUBLIC: server.port})
    with pytest.raises(MediaForbidden, match="leads to an address that is not public"):
        read(library(hosts=("*",), network=names.network), "http://media.example/a.mp4")
    assert names.connected == []


def test_the_address_that_was_checked_is_the_one_connected_to(library, server):
    """A name server may answer otherwise the second time (DNS rebinding): there is no second time."""
    names = Names({"media.example": [[PUBLIC], ["127.0.0.1"]]}, {PUBLIC: server.port})
    server.pages["/a.mp4"] = Page(b"some video")
    assert read(library(hosts=("*",), network=names.network), "http://media.example/a.mp4").data == b"some video"
    assert (names.asked, names.connected) == (["media.example"], [PUBLIC])


def test_the_next_address_is_tried_if_nobody_is_at_the_first(library, server):
    names = Names({"media.example": [OTHER_PUBLIC, PUBLIC]}, {PUBLIC: server.port})
    server.pages["/a.mp4"] = Page(b"some video")
    assert read(library(hosts=("*",), network=names.network), "http://media.example/a.mp4").data == b"some video"
    assert names.connected == [OTHER_PUBLIC, PUBLIC]


def test_a_name_without_an_address_is_a_passing_failure(library):
    with pytest.raises(MediaUnavailable, match=r"host 'media\.example' cannot be resolved"):
        read(library(hosts=("*",), network=Names().network), "http://media.example/a.mp4")


def test_a_name_that_is_too_long_for_the_name_service_is_a_failure_of_that_address(library):
    with pytest.raises(MediaError, match="cannot be resolved"):
        read(library(hosts=("*",), network=Network()), f"http://{'a' * 64}.invalid/a.mp4")


# Redirects.


@pytest.mark.parametrize(
    ("location", "addresses"),
    [
        ("http://10.0.0.7/secret", {}),
        ("http://169.254.169.254/latest/meta-data/", {}),
        ("http://[fd00:ec2::254]/latest/meta-data/", {}),
        ("http://inner.example/secret", {"inner.example": ["10.0.0.7"]}),
        ("http://metadata.example/", {"metadata.example": ["169.254.169.254"]}),
        ("//inner.example/secret", {"inner.example": [PUBLIC, "::1"]}),
    ],
)
def test_a_redirect_to_an_inner_address_is_not_followed(library, server, location, addresses):
    names = Names({"media.example": [PUBLIC], **addresses}, {PUBLIC: server.port})
    server.pages["/a.mp4"] = Page(status=302, headers={"location": location})
    with pytest.raises(MediaForbidden, match="leads to an address that is not public"):
        read(library(hosts=("*",), network=names.network), "http://media.example/a.mp4")
    assert names.connected == [PUBLIC]


def test_a_redirect_to_another_public_host_needs_it_to_be_listed(library, server):
    names = Names({"media.example": [PUBLIC], "cdn.example": [PUBLIC]}, {PUBLIC: server.port})
    server.pages |= {"/a.mp4": Page(status=302, headers={"location": "http://cdn.example/b.mp4"}), "/b.mp4": Page(b"moved")}
    with pytest.raises(MediaForbidden, match=r"host 'cdn\.example' is not allowed"):
        read(library(hosts=("media.example",), network=names.network), "http://media.example/a.mp4")
    media = library(hosts=("media.example", "cdn.example"), network=names.network)
    assert read(media, "http://media.example/a.mp4").data == b"moved"


def test_an_address_is_shown_without_its_secrets():
    assert shown("https://ann:pass@media.example:8443/a.mp4?X-Amz-Signature=1#x") == "https://media.example:8443/a.mp4"
    assert shown(httpx.URL("s3://ann:pass@bucket/a.mp4?versionId=1")) == "s3://bucket/a.mp4"
    assert shown("http://ann:pa/ss@media.example/a.mp4?x") == "http://media.example/a.mp4"
    assert shown("http://studio:8080/data/local-files/?d=clips/a%20b.mp4&token=1") == (
        "http://studio:8080/data/local-files/?d=clips/a b.mp4"
    )
