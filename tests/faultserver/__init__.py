"""A scripted HTTP/1.1 server on the loopback that tells the truth until it is told to lie.

    with Server() as server:
        server.add("/a.bin", body=DATA, etag='"v1"', cut=60000, times=1)
        ... fetch server.url("/a.bin") ...
        assert [r.range for r in server.hits("/a.bin")] == [None, "bytes=60000-"]

Without faults a route sends Content-Length, ETag and Last-Modified as given, honours Range, If-Range,
If-None-Match and If-Modified-Since, answers HEAD, and keeps the connection. An unknown option raises
TypeError, a wrong value ValueError, when the route is added; a script that fails while it is played raises
AssertionError from `close()`.

Server(...) options
    host            address to bind, any 127.x.y.z (macOS: only 127.0.0.1) or "::1"
    port            0: a free one
    tls             serve TLS with a certificate of a throw-away CA (`server.ca_file`)
    cert            "good", "self-signed", "expired", "wrong-name", "unknown-ca"
    client_cert     demand a client certificate (`server.client_cert_file`)
    accept          first mode of `accept_as`
    tunnel          serve CONNECT to loopback ports: with absolute-form targets this makes a proxy
    backlog         length of the listen queue

Server methods
    add(path, **options)    serve a path, replacing what it was (counts start anew); "/a?x=1" matches that
                            query only, "/n/*" every path that begins so, "host:port" a CONNECT
    add_generator(function) function(request) -> route(**options) or None, asked when no path fits
    remove(path)            back to 404
    throttle(...)           host-wide refusals: per_second=N, concurrent=N, first_of_each_path=True; with
                            retry_after="1", status=429, extra_headers=[...]; `unthrottle()` ends it
    accept_as(mode, times)  "serve", "close", "reset", "silent" (also stalls a TLS handshake), "refuse"
                            (nobody listens), "blackhole" (Linux: connecting hangs); close, reset and
                            silent can be limited to the next `times` connections
    drop_connections()      shut every open connection now
    url(path, host)         URL of a path; also `origin`, `netloc`, `host`, `port`
    requests, hits(path)    records: method, target, path, query, headers (any case; `.pairs` as sent),
                            body, range, connection (number), time (monotonic), number, status,
                            sent (body bytes), done
    connections, open_connections, peak_connections, active_requests, peak_requests
    wait_until(condition), wait_for_hits(path, count)       bounded waits, for tests without sleeps
    close()                 ends everything at once, also what stalls

Route options that describe the resource
    body                bytes, str, Filled(size), Forever(data, every) or a function of the request
    content_type        None leaves it out
    etag                literal value; a list: one after another, for ever
    last_modified       Unix time, or a literal value
    conditional         False: If-None-Match and If-Modified-Since are ignored
    extra_headers       [(name, value)], sent as they are: bytes, control characters, repetitions
    encoding            "gzip" or "deflate": the body is encoded and labelled, ranges are ignored
    content_encoding    a label only, true or not
    chunked             True, or the size of a chunk
    transfer_encoding   literal value; one that ends in "chunked" makes the body chunked
    no_length           neither Content-Length nor chunks: the body ends with the connection
    http10              answers as HTTP/1.0
    keep_alive          False: "Connection: close"; True: not closed even after a broken answer
    close_after         a connection that has had n answers is closed, without a word, when one more
                        request comes (stale keep-alive)
    date                Unix time, literal value, or None for no Date
    require             {header: value}: anything else is answered 401
    error_body          body of error answers made by `statuses`
    head_body           send a body to HEAD too

Route options that are faults (`times=n` keeps them to the first n requests)
    status              any number, or text for the status line; without `body` an error gets a short text
    statuses            one per request, the last one repeats; errors carry `error_body`, not `body`
    reason              literal reason phrase
    retry_after         literal value, sent with every status but 200
    redirect            Location, literal or a function of the request; status 302 unless given
    ranges              False: not supported, whatever `times` says
                        "ignore": 200 with everything; "ignore-if-range": 206 whatever If-Range says
                        "206-unasked": half the file to a request without Range
                        and for requests with one
                        "shift:-1000", "start:0": starts elsewhere, and says so
                        "lie:-1000": other bytes than it says; "short:10000": fewer than asked for
                        "to-end": ignores the end asked for
                        "no-header", "no-header-whole": 206 without Content-Range, slice or whole file
                        "garbage", "other-total:777", "no-total": in Content-Range
                        "200-slice": the slice with Content-Range, but status 200
                        "416", "416:N" (total wrong by N), "416-no-header"; "multipart"
    content_range       literal Content-Range, wherever one would be sent and on every status but 200
    length              literal Content-Length; a list: several headers
    chunk_line          literal first chunk-size line
    flip                offset of one byte that is sent wrong
    cut                 body bytes of this answer after which it ends, chunk framing not counted
    cut_how             "close" (under TLS without close_notify), "clean" (with it), "reset", "stall"
    at                  {body bytes: step}: a pause, an Event to wait for, bytes to slip in, an ending
    trickle             (bytes, seconds): the body in small pieces
    trickle_head        the same for the head
    head_delay          seconds before the answer
    early               steps before the head, e.g. [b"HTTP/1.1 103 Early Hints\\r\\n\\r\\n"]
    after               steps after the body, e.g. [0.05, b"HTTP/1.1 200 OK..."] or [CLOSE]
    raw                 the whole answer as steps, or a function of the request that gives them; then the
                        connection is closed unless keep_alive=True

Route options that vary the others
    times               requests that see the faults; later ones get the plain resource
    first               [options, ...]: other values for the first requests, one after another
    on_range            options for requests with Range
    head                options for HEAD

A step is bytes, seconds, a threading.Event, CLOSE, CLEAN, RESET, STALL, or an iterable of steps
(`Forever(data, every)` is one). A pause ends early when the client closes or half-closes its side.
HEAD is not counted by `times`, `first`, `statuses`; a "/n/*" route counts each path by itself.
"""

from .bodies import Filled, Forever, gzip_bomb, pattern
from .routes import Route, http_date, route
from .server import Server
from .steps import CLEAN, CLOSE, RESET, STALL
from .wire import Headers, Request

__all__ = [
    "CLEAN",
    "CLOSE",
    "RESET",
    "STALL",
    "Filled",
    "Forever",
    "Headers",
    "Request",
    "Route",
    "Server",
    "gzip_bomb",
    "http_date",
    "pattern",
    "route",
]
