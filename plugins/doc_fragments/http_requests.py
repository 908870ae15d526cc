# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from textwrap import indent

# What every request has in common, as options of a list's elements.
_REQUEST = r"""
method:
  description: Method of the request.
  type: str
  choices: [GET, HEAD, OPTIONS, POST]
  default: GET
headers:
  description: Headers of the request. Those whose name says that they hold a secret are refused.
  type: dict
  default: {}
secret_headers:
  description: Headers that are never shown. They are sent to the origin of C(url) and to no other.
  type: dict
  default: {}
secret_query:
  description: Parameters that are added to the query of C(url) and are never shown, for example an API key.
  type: dict
  default: {}
username:
  description: User of basic authentication. Wants C(password).
  type: str
password:
  description: Password of basic authentication.
  type: str
bearer_token:
  description: Token for the header C(Authorization), instead of C(username).
  type: str
body:
  description: Body of a POST or OPTIONS request, as text. Its type is given in C(headers).
  type: str
timeout:
  description: Longest wait for one whole answer, as a duration. Name resolution and a body that drips are within it.
  type: str
  default: 10s
validate_certs:
  description: Check the server's certificate.
  type: bool
  default: true
ca_cert:
  description: File with the certificates of the authorities that are trusted instead of the system's.
  type: path
client_cert:
  description: File with a client certificate. It is shown to the origin of C(url) and to no other.
  type: path
client_key:
  description: File with its key, if the key is not in the same file. It must not be encrypted.
  type: path
resolve:
  description: >-
    Addresses of hosts that are used instead of asking the name service, for example V({"shop.example": "192.0.2.7"}).
  type: dict
  default: {}
use_proxy:
  description:
    - Use the proxy that the environment names (C(https_proxy), C(no_proxy)). Without it the environment is not looked at.
    - Behind a proxy it is not known which address answers. F(.netrc) is never read.
  type: bool
  default: false
body_limit:
  description: How much of a body is read, as a size. What is beyond is neither waited for nor looked at.
  type: str
  default: 1MB
status:
  description: Status codes that are good, as V(200), V(200-299) or V(2xx). By default V(200).
  type: list
  elements: str
contains:
  description: Texts that must be in the body.
  type: list
  elements: str
  default: []
absent:
  description: Texts that must not be in the body, for example V(Fatal error).
  type: list
  elements: str
  default: []
json:
  description: What the JSON body must say.
  type: list
  elements: dict
  default: []
  suboptions:
    path:
      description: Dotted path, with numbers for items of lists, for example V(checks.0.ok).
      type: str
      required: true
    op:
      description:
        - How the value is compared. Numbers are compared with numbers and texts with texts.
        - V(contains) is for texts and lists, V(in) wants a list, V(exists) and V(missing) want no value.
      type: str
      choices: [eq, ne, lt, le, gt, ge, contains, in, exists, missing]
      default: eq
    value:
      description: The value that it is compared with.
      type: raw
"""


# The annotations keep ansible-test, which reads plain assignments only, from tripping over texts that are put together.
class ModuleDocFragment:
    ENDPOINTS: str = r"""
options:
  endpoints:
    description: What is asked.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name in the result and in samples. By default the address without its query, or the host.
        type: str
      kind:
        description: >-
          V(http) sends a request to C(url), V(tcp) connects to C(host) and C(port), V(dns) resolves C(host) as this host does.
        type: str
        choices: [http, tcp, dns]
        default: http
      url:
        description: Address, V(http://) or V(https://), without user and password.
        type: str
      follow_redirects:
        description: Follow up to five redirects and judge the last answer.
        type: bool
        default: false
      allow_private:
        description:
          - Follow redirects to private, loopback and link-local addresses too. Without it they are a failure, whatever name leads there.
          - When the address of C(url) is private or loopback itself, redirects to such addresses need no permission.
        type: bool
        default: false
      redirect:
        description: Where the answer must redirect to. It is not followed. C(status) is any redirect then, by default.
        type: str
      host:
        description: Host of a V(tcp) or V(dns) endpoint.
        type: str
      port:
        description: Port of a V(tcp) endpoint.
        type: int
      tls:
        description: Look at the certificate of a V(tcp) endpoint that speaks TLS from the first byte on.
        type: bool
        default: false
      family:
        description: Which addresses a V(dns) endpoint must have.
        type: str
        choices: [any, ipv4, ipv6]
        default: any
      addresses:
        description: Addresses or networks. A V(dns) endpoint that resolves to any other has failed.
        type: list
        elements: str
        default: []
      requests:
        description: How many requests are sent. Two in a row without any answer end it early.
        type: int
        default: 5
      concurrency:
        description: How many of them are sent at the same time.
        type: int
        default: 1
      limits:
        description: Limits of this endpoint over O(limits), level by level.
        type: dict
        default: {}
""" + indent(_REQUEST.lstrip(), " " * 6)

    APIS: str = r"""
options:
  apis:
    description: What is asked.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name in the result, in samples and in O(previous).
        type: str
        required: true
      url:
        description: Address, V(http://) or V(https://), without user, password and key. Redirects are not followed.
        type: str
        required: true
      requests:
        description: How many requests are sent, one after the other.
        type: int
        default: 3
      rate_limit:
        description:
          - How many requests the vendor allows, all clients of the product together.
          - Limits by the second and minute set the pause between requests.
        type: dict
        default: {}
        suboptions:
          per_second:
            description: Requests per second.
            type: int
          per_minute:
            description: Requests per minute.
            type: int
          per_hour:
            description: Requests per hour.
            type: int
          per_day:
            description: Requests per day.
            type: int
      max_quota_share:
        description:
          - How many percent of each C(rate_limit) the looks may use, earlier ones that O(previous) tells of included.
          - When that is less than one request none is sent, and the API is V(unknown).
        type: float
        default: 5.0
      quota_headers:
        description:
          - Names of the headers that tell of the quota, when they are none of the usual ones.
          - The usual ones are C(X-RateLimit-*), C(X-Rate-Limit-*), C(RateLimit-*), C(RateLimit) with C(RateLimit-Policy) (the IETF's
            drafts), and Ticketmaster's C(Rate-Limit), C(Rate-Limit-Available), C(Rate-Limit-Reset).
        type: dict
        default: {}
        suboptions:
          limit:
            description: Header with the size of the quota.
            type: str
          remaining:
            description: Header with what is left of it.
            type: str
          reset:
            description: Header with its end. Seconds from now, a time stamp in seconds or milliseconds, or a date.
            type: str
      max_retry_after:
        description: Longest wait that is believed, as a duration.
        type: str
        default: 1d
      breaker:
        description: The circuit breaker.
        type: dict
        default: {}
        suboptions:
          failures:
            description: After how many failures in a row it opens. They are counted over runs by O(previous).
            type: int
            default: 3
          cooldown:
            description: How long it stays open before one trial is sent, as a duration. Also how long a V(429) is honoured that names no time.
            type: str
            default: 5m
      oauth:
        description: >-
          Get a token first by client credentials. It is used for this run's requests to this API, and neither stored nor returned.
        type: dict
        suboptions:
          token_url:
            description: Address of the token endpoint.
            type: str
            required: true
          client_id:
            description: Id of the client.
            type: str
            required: true
          client_secret:
            description: Its secret.
            type: str
            required: true
          scope:
            description: Scopes, separated by blanks.
            type: str
            default: ""
          credentials:
            description: Whether id and secret are sent as basic authentication or in the body.
            type: str
            choices: [header, body]
            default: header
      fallback:
        description: What the product does without this API, for the message, for example V(use cached searches).
        type: str
        default: ""
      limits:
        description: Limits of this API over O(limits), level by level.
        type: dict
        default: {}
""" + indent(_REQUEST.lstrip(), " " * 6)
