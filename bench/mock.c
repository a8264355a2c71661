// The upstream of the bench: a provider that costs next to nothing. Speaks OpenAI chat completions
// and Anthropic messages (any path with /messages), JSON and SSE, from one epoll thread. It is not
// a test double: it checks nothing and keeps nothing.
//
// Use: mock [PORT]     0 or none = any free port; the port is the first line on stdout.
//
// The model name in the request chooses the behaviour, so every gateway can carry it:
//   mock-<latency_us>-<chunks>-<interval_us>
//     latency_us   wait before the response head
//     chunks       content chunks of a streamed answer (each is one SSE event, one write)
//     interval_us  wait between chunks; 0 = as fast as possible, round-robin over streams
// Every streamed content chunk holds "@t" and 16 digits: CLOCK_MONOTONIC in microseconds at the
// moment it was written, so that a client on this machine knows the one-way delay. The JSON
// answer carries sixteen zeros there.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAXFD 65536
enum { IDLE, WAIT_HEAD, STREAMING };
typedef struct {
  int fd, state, stream, usage, anth, nchunk, sent, interval, heapi, close_after, in_ready;
  uint64_t due;
  char *in;
  size_t inlen, incap;
  char *out;
  size_t outlen, outoff, outcap;
  int want_out;
} Conn;
static Conn *conns[MAXFD];
// Streams and answers that wait for their time, earliest first (a binary heap).
static Conn *heap[MAXFD];
static int hn;
// Streams without an interval: each writes one event a turn.
static Conn *ready[MAXFD];
static int rn;
static int ep, tfd;
static uint64_t armed; // what the timer is set to, so that it is set once per change

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + t.tv_nsec / 1000;
}
static void hswap(int a, int b) {
  Conn *t = heap[a];
  heap[a] = heap[b];
  heap[b] = t;
  heap[a]->heapi = a;
  heap[b]->heapi = b;
}
static void hup(int i) {
  while (i && heap[i]->due < heap[(i - 1) / 2]->due) {
    hswap(i, (i - 1) / 2);
    i = (i - 1) / 2;
  }
}
static void hdown(int i) {
  for (;;) {
    int l = 2 * i + 1, r = l + 1, m = i;
    if (l < hn && heap[l]->due < heap[m]->due) m = l;
    if (r < hn && heap[r]->due < heap[m]->due) m = r;
    if (m == i) return;
    hswap(i, m);
    i = m;
  }
}
static void hpush(Conn *c, uint64_t due) {
  c->due = due;
  c->heapi = hn;
  heap[hn++] = c;
  hup(c->heapi);
}
static void hdel(Conn *c) {
  if (c->heapi < 0) return;
  int i = c->heapi;
  c->heapi = -1;
  Conn *l = heap[--hn];
  if (l == c) return;
  heap[i] = l;
  l->heapi = i;
  hup(i);
  hdown(l->heapi);
}
static void leave_ready(Conn *c) {
  if (!c->in_ready) return;
  for (int i = 0; i < rn; i++)
    if (ready[i] == c) {
      ready[i] = ready[--rn];
      break;
    }
  c->in_ready = 0;
}
static void conn_close(Conn *c) {
  hdel(c);
  leave_ready(c);
  conns[c->fd] = 0;
  close(c->fd);
  free(c->in);
  free(c->out);
  free(c);
}
static int flush_out(Conn *c) { // 0 ok (maybe pending), -1 closed
  while (c->outoff < c->outlen) {
    ssize_t n = send(c->fd, c->out + c->outoff, c->outlen - c->outoff, MSG_NOSIGNAL);
    if (n > 0) {
      c->outoff += n;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!c->want_out) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = c->fd};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
        c->want_out = 1;
      }
      return 0;
    }
    conn_close(c);
    return -1;
  }
  c->outoff = c->outlen = 0;
  if (c->want_out) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = c->fd};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->want_out = 0;
  }
  return 0;
}
static void put(Conn *c, const char *s, size_t n) {
  if (c->outlen + n > c->outcap) {
    c->outcap = (c->outlen + n) * 2 + 512;
    c->out = realloc(c->out, c->outcap);
  }
  memcpy(c->out + c->outlen, s, n);
  c->outlen += n;
}
#define ID "\"id\":\"chatcmpl-Mock00000000000000000000000000\""
static const char BODY[] =
    "{" ID
    ",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello! How can I help you today? @t0000000000000000 This is the mock upstream speaking, with a short answer.\",\"refusal\":null,\"annotations\":[]},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":21,\"total_tokens\":40,"
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
    "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}";
static const char ABODY[] =
    "{\"id\":\"msg_Mock0000000000000000000000\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-mock\","
    "\"content\":[{\"type\":\"text\",\"text\":\"Hello! How can I help you today? @t0000000000000000 This is the mock upstream speaking, with a short answer.\"}],"
    "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":19,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":21,\"service_tier\":\"standard\"}}";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"mock-0-100-0\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"mock\"}]}";
#define EV                                                                                         \
  "data: {" ID                                                                                     \
  ",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\","
static void event(Conn *c, const char *ev, int n) { // one HTTP chunk = one SSE event
  char h[16];
  int k = sprintf(h, "%x\r\n", n);
  put(c, h, k);
  put(c, ev, n);
  put(c, "\r\n", 2);
}
static void respond_json(Conn *c, const char *body, size_t n) {
  char h[256];
  int k = sprintf(
      h,
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nx-request-id: req_mock\r\n%s\r\n",
      n, c->close_after ? "Connection: close\r\n" : "");
  put(c, h, k);
  put(c, body, n);
}
static int parse_more(Conn *c);
static int done(Conn *c) {
  c->state = IDLE;
  if (flush_out(c)) return -1;
  if (c->close_after && !c->outlen) {
    conn_close(c);
    return -1;
  }
  return parse_more(c);
}
// A paced stream that fell behind does not catch up in one burst: it goes on from now.
static void wait_turn(Conn *c) {
  if (c->interval) hpush(c, c->due + c->interval > now_us() ? c->due + c->interval : now_us());
  else if (!c->in_ready) {
    c->in_ready = 1;
    ready[rn++] = c;
  }
}
static int step_anthropic(Conn *c) {
  char b[1024];
  int n;
  if (c->sent < c->nchunk) {
    if (!c->sent) {
      n = sprintf(
          b,
          "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_Mock0000000000000000000000\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-mock\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":19,\"output_tokens\":1}}}\n\n");
      event(c, b, n);
      n = sprintf(
          b,
          "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
      event(c, b, n);
    }
    n = sprintf(
        b,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" @t%016llu\"}}\n\n",
        (unsigned long long)now_us());
    event(c, b, n);
    c->sent++;
    if (flush_out(c)) return -1;
    wait_turn(c);
    return 0;
  }
  leave_ready(c);
  n = sprintf(b,
              "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
  event(c, b, n);
  n = sprintf(
      b,
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}\n\n",
      c->nchunk);
  event(c, b, n);
  n = sprintf(b, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  event(c, b, n);
  put(c, "0\r\n\r\n", 5);
  return done(c);
}
// Writes the next event of a stream; -1 when the connection is gone.
static int step(Conn *c) {
  if (c->anth) return step_anthropic(c);
  char b[1024];
  int n;
  if (c->sent < c->nchunk) {
    n = sprintf(
        b,
        EV
        "\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\" @t%016llu\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
        c->sent ? "" : "\"role\":\"assistant\",", (unsigned long long)now_us());
    event(c, b, n);
    c->sent++;
    if (flush_out(c)) return -1;
    wait_turn(c);
    return 0;
  }
  leave_ready(c);
  n = sprintf(
      b, EV
      "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
  event(c, b, n);
  if (c->usage) {
    n = sprintf(
        b,
        EV
        "\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
        c->nchunk, c->nchunk + 19);
    event(c, b, n);
  }
  event(c, "data: [DONE]\n\n", 14);
  put(c, "0\r\n\r\n", 5);
  return done(c);
}
static int begin(Conn *c) { // latency is over: write the head
  if (!c->stream) {
    if (c->anth) respond_json(c, ABODY, sizeof ABODY - 1);
    else respond_json(c, BODY, sizeof BODY - 1);
    return done(c);
  }
  static const char H[] =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\nx-request-id: req_mock\r\n\r\n";
  put(c, H, sizeof H - 1);
  c->state = STREAMING;
  c->sent = 0;
  c->due = now_us();
  return step(c);
}
static const char *find_key(const char *b, size_t n, const char *key) { // points at the value
  const char *p = b, *e = b + n;
  size_t k = strlen(key);
  while ((p = memmem(p, e - p, key, k))) {
    p += k;
    while (p < e && (*p == ' ')) p++;
    if (p < e && *p == ':') {
      p++;
      while (p < e && *p == ' ') p++;
      return p;
    }
  }
  return 0;
}
static int request(Conn *c, const char *head, size_t hl, const char *body, size_t bl) {
  if (!strncmp(head, "GET ", 4)) {
    if (memmem(head, hl, "/models", 7)) respond_json(c, MODELS, sizeof MODELS - 1);
    else respond_json(c, "{\"status\":\"ok\"}", 15);
    return done(c);
  }
  int lat = 0, n = 100, iv = 0;
  const char *le = memchr(head, '\r', hl);
  c->anth = le && memmem(head, le - head, "/messages", 9) != 0;
  const char *m = find_key(body, bl, "\"model\"");
  if (m) {
    const char *k =
        memmem(m, (size_t)(body + bl - m) > 64 ? 64 : (size_t)(body + bl - m), "mock-", 5);
    if (k) sscanf(k, "mock-%d-%d-%d", &lat, &n, &iv);
  }
  const char *s = find_key(body, bl, "\"stream\"");
  c->stream = s && !strncmp(s, "true", 4);
  const char *u = find_key(body, bl, "\"include_usage\"");
  c->usage = u && !strncmp(u, "true", 4);
  c->nchunk = n;
  c->interval = iv;
  if (lat) {
    c->state = WAIT_HEAD;
    hpush(c, now_us() + lat);
    return 0;
  }
  return begin(c);
}
// Takes one whole request out of what was read, if there is one, and answers it.
static int parse_more(Conn *c) {
  if (c->state != IDLE || !c->inlen) return 0;
  char *he = memmem(c->in, c->inlen, "\r\n\r\n", 4);
  if (!he) return 0;
  size_t hl = he - c->in + 4, total = hl, bl = 0;
  int chunked = 0;
  long cl = 0;
  for (char *p = c->in; p < he;) {
    char *e = memmem(p, he + 2 - p, "\r\n", 2);
    if (!e) break;
    if (!strncasecmp(p, "content-length:", 15)) cl = atol(p + 15);
    else if (!strncasecmp(p, "transfer-encoding:", 18)) chunked = 1;
    else if (!strncasecmp(p, "connection:", 11) && memmem(p, e - p, "lose", 4)) c->close_after = 1;
    p = e + 2;
  }
  char *body = c->in + hl;
  char *tmp = 0;
  if (chunked) {
    char *p = body, *end = c->in + c->inlen;
    tmp = malloc(c->inlen);
    int fin = 0;
    while (p < end) {
      char *e = memmem(p, end - p, "\r\n", 2);
      if (!e) break;
      long k = strtol(p, 0, 16);
      p = e + 2;
      if (end - p < k + 2) break;
      if (!k) {
        p += 2;
        fin = 1;
        break;
      }
      memcpy(tmp + bl, p, k);
      bl += k;
      p += k + 2;
    }
    if (!fin) {
      free(tmp);
      return 0;
    }
    total = p - c->in;
    body = tmp;
  } else {
    bl = cl;
    total = hl + cl;
    if (c->inlen < total) return 0;
  }
  // take the request out of the buffer before answering (answering may recurse)
  char *copy = malloc(hl + bl + 1);
  memcpy(copy, c->in, hl);
  memcpy(copy + hl, body, bl);
  copy[hl + bl] = 0;
  free(tmp);
  memmove(c->in, c->in + total, c->inlen - total);
  c->inlen -= total;
  int r = request(c, copy, hl, copy + hl, bl);
  free(copy);
  return r;
}
static void on_read(Conn *c) {
  for (;;) {
    if (c->inlen + 16384 > c->incap) {
      c->incap = c->incap ? c->incap * 2 : 32768;
      c->in = realloc(c->in, c->incap);
    }
    ssize_t n = recv(c->fd, c->in + c->inlen, c->incap - c->inlen, 0);
    if (n > 0) {
      int full = (size_t)n == c->incap - c->inlen;
      c->inlen += n;
      if (full) continue;
      break;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    conn_close(c);
    return;
  }
  parse_more(c);
}
static void arm(void) {
  uint64_t w = hn ? heap[0]->due : 0;
  if (w == armed) return;
  armed = w;
  struct itimerspec it = {.it_value = {w / 1000000, (w % 1000000) * 1000}};
  timerfd_settime(tfd, TFD_TIMER_ABSTIME, &it, 0);
}
int main(int argc, char **argv) {
  int port = argc > 1 ? atoi(argv[1]) : 0, one = 1;
  signal(SIGPIPE, SIG_IGN);
  struct rlimit rl = {MAXFD, MAXFD};
  setrlimit(RLIMIT_NOFILE, &rl);
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) {
    perror("bind");
    return 1;
  }
  ep = epoll_create1(0);
  tfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = ls};
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
  e.data.fd = tfd;
  epoll_ctl(ep, EPOLL_CTL_ADD, tfd, &e);
  socklen_t al = sizeof a;
  getsockname(ls, (void *)&a, &al);
  printf("%d\n", ntohs(a.sin_port));
  fflush(stdout);
  static struct epoll_event ev[512];
  for (;;) {
    arm();
    int n = epoll_wait(ep, ev, 512, rn ? 0 : -1);
    for (int i = 0; i < n; i++) {
      int fd = ev[i].data.fd;
      if (fd == ls) {
        for (;;) {
          int f = accept4(ls, 0, 0, SOCK_NONBLOCK);
          if (f < 0) break;
          if (f >= MAXFD) {
            close(f);
            continue;
          }
          setsockopt(f, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          Conn *c = calloc(1, sizeof *c);
          c->fd = f;
          c->heapi = -1;
          conns[f] = c;
          struct epoll_event x = {.events = EPOLLIN, .data.fd = f};
          epoll_ctl(ep, EPOLL_CTL_ADD, f, &x);
        }
      } else if (fd == tfd) {
        uint64_t x;
        if (read(tfd, &x, 8) < 0) {}
        armed = 0;
      } else {
        Conn *c = conns[fd];
        if (!c) continue;
        if (ev[i].events & EPOLLOUT) {
          if (flush_out(c)) continue;
          if (c->state == IDLE && c->close_after && !c->outlen) {
            conn_close(c);
            continue;
          }
        }
        if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_read(c);
      }
    }
    uint64_t t = now_us();
    while (hn && heap[0]->due <= t) {
      Conn *c = heap[0];
      hdel(c);
      if (c->state == WAIT_HEAD) begin(c);
      else step(c);
    }
    for (int i = rn - 1; i >= 0; i--) { // burst streams: one event each, skipping clogged ones
      if (i >= rn) continue;
      Conn *c = ready[i];
      if (c->outlen) continue;
      step(c);
    }
  }
}
