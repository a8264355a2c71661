// The client of the bench: a load generator for OpenAI-style completions, JSON and SSE, from one
// epoll thread. It is cheap, so that what is measured is the gateway. It is not an HTTP client:
// it understands what a gateway on this machine sends back, no more.
//
// Use: lg -p PORT -u PATH -b BODYFILE [-H "Name: value"]... -c CONNECTIONS -d SECONDS
//         [-n MAX] [-m MARKS] [-s US | -r RATE | -o N] [-g GRACE_SECONDS]
//   closed loop by default: each connection sends its next request when the last one ended
//   -s US    closed loop, connection i starts i*US microseconds late (streams out of step)
//   -r RATE  open loop: RATE requests/s spread over the connections, latency counted from the
//            moment the request was due (no coordinated omission)
//   -o N     each connection makes one request only; N connections are opened every 10 ms
//   -m MARKS an answer with fewer chunks than this is a bad one (default 1)
//   -n MAX   stop after this many requests
//   -g S     how long after SECONDS the last answers may take; the rest count as bad
// Prints one JSON line; times are in microseconds. Content chunks are counted by the "@t" mark
// that mock.c writes; its 16 digits are the mock's monotonic microseconds, so "hop" is the one-way
// delay of a chunk. "win_*" leave out the first second and what came after SECONDS.
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
#include <time.h>
#include <unistd.h>

typedef struct {
  float *v;
  size_t n, cap;
} Arr;
static void add(Arr *a, double x) {
  if (a->n == a->cap) {
    a->cap = a->cap ? a->cap * 2 : 65536;
    a->v = realloc(a->v, a->cap * sizeof(float));
  }
  a->v[a->n++] = (float)x;
}
static int cmpf(const void *a, const void *b) {
  float x = *(float *)a, y = *(float *)b;
  return x < y ? -1 : x > y;
}
static double pct(Arr *a, double p) {
  if (!a->n) return -1;
  size_t i = (size_t)(p * (a->n - 1) + 0.5);
  return a->v[i];
}

enum { FREE, SENDING, HEAD, BODY };
typedef struct {
  int fd, st, chunked, status, close_after, marks, ever, cst;
  long left, clen;
  size_t off;
  char buf[65536];
  size_t n;
  char tail[64];
  int tn;
  uint64_t t0, tfirst, tlast;
} C;
static C *cs;
static int nc = 1, ep, port = 9000, oneshot = 0, marks_min = 1;
static char *req;
static size_t reqn;
static uint64_t T0, TEND;
static long maxn = -1, sent, ok, bad, marks_total, reconnects, conn_err, bytes_in;
static double rate = 0;
static Arr lat, ttft, hop, gap;
static int badstatus[8];
static int nbad;
static char badtext[300];
static long inflight, peak_streaming, win_marks, win_ok;
static uint64_t W0;
static uint64_t us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + t.tv_nsec / 1000;
}
static void mod(C *c, uint32_t e) {
  struct epoll_event x = {.events = e, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &x);
}
static int dial(C *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) {
    perror("socket");
    exit(1);
  }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int r = connect(c->fd, (void *)&a, sizeof a);
  struct epoll_event x = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &x);
  c->ever = 0;
  if (r && errno != EINPROGRESS) return -1;
  return 0;
}
static void push(C *c) {
  while (c->off < reqn) {
    ssize_t k = send(c->fd, req + c->off, reqn - c->off, MSG_NOSIGNAL);
    if (k > 0) {
      c->off += k;
      continue;
    }
    if (k < 0 && errno == EAGAIN) {
      mod(c, EPOLLIN | EPOLLOUT);
      return;
    }
    return; // the read side sees the error
  }
  if (c->st == SENDING) {
    c->st = HEAD;
    mod(c, EPOLLIN);
  }
}
static void start(C *c, uint64_t t0) {
  c->t0 = t0;
  c->tfirst = c->tlast = 0;
  c->marks = 0;
  c->off = 0;
  c->n = 0;
  c->tn = 0;
  c->st = SENDING;
  sent++;
  inflight++;
  if (c->fd < 0) {
    if (dial(c)) conn_err++;
    else return;
  }
  push(c);
}
static void drop(C *c) {
  if (c->fd >= 0) {
    close(c->fd);
    c->fd = -1;
  }
}
static double step_us;
static void next(C *c) {
  c->st = FREE;
  if (rate > 0 || oneshot) return;
  uint64_t t = us();
  if (t >= TEND || (maxn >= 0 && sent >= maxn)) return;
  start(c, t);
}
static void finish(C *c, int good) {
  uint64_t t = us();
  inflight--;
  if (good && c->status == 200 && c->marks >= marks_min) {
    ok++;
    if (t >= W0 && t < TEND) win_ok++;
    add(&lat, t - c->t0);
    if (c->tfirst) add(&ttft, c->tfirst - c->t0);
  } else {
    bad++;
    if (nbad < 8) badstatus[nbad++] = good ? c->status : -1;
  }
  if (c->close_after || !good) {
    drop(c);
    reconnects++;
  }
  next(c);
}
// What is left over is kept: a mark may lie across two reads.
static void scan(C *c, const char *p, size_t n) { // looks for @t markers, also across reads
  char j[65536 + 64];
  const char *b;
  size_t m;
  if (c->tn) {
    memcpy(j, c->tail, c->tn);
    memcpy(j + c->tn, p, n);
    b = j;
    m = c->tn + n;
  } else {
    b = p;
    m = n;
  }
  const char *s = b, *e = b + m, *k;
  uint64_t t = 0;
  while ((k = memmem(s, e - s, "@t", 2))) {
    if (e - k < 18) break;
    uint64_t x = 0;
    for (int i = 2; i < 18; i++) x = x * 10 + (k[i] - '0');
    if (!t) t = us();
    if (x) {
      add(&hop, t > x ? t - x : 0);
      if (c->tlast) add(&gap, t - c->tlast);
      c->tlast = t;
    }
    if (!c->tfirst) { c->tfirst = t; }
    c->marks++;
    marks_total++;
    {
      uint64_t w = t ? t : us();
      if (w >= W0 && w < TEND) win_marks++;
    }
    s = k + 18;
  }
  size_t rest = k ? (size_t)(e - k) : (size_t)(e - s);
  if (!k) rest = rest > 1 ? 1 : rest;
  memmove(c->tail, e - rest, rest);
  c->tn = rest;
}
// chunked decoder: cst 0 size line, 1 data, 2 CRLF after data, 3 trailer
static int body(C *c, const char *p, size_t n) { // 1 = answer complete
  if (!c->chunked) {
    scan(c, p, n);
    if (c->clen < 0) return 0;
    c->left -= n;
    return c->left <= 0;
  }
  size_t i = 0;
  while (i < n) {
    if (c->cst == 0) {
      char ch = p[i++];
      if (ch == '\n') {
        if (c->left == 0) {
          c->cst = 3;
          c->clen = 0;
        } else c->cst = 1;
      } else if (c->clen == 0) {
        int d = ch >= '0' && ch <= '9'                 ? ch - '0'
                : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
                                                       : -1;
        if (d >= 0) c->left = c->left * 16 + d;
        else c->clen = 1; // extension or CR: ignore the rest
      }
    } else if (c->cst == 1) {
      size_t k = n - i < (size_t)c->left ? n - i : (size_t)c->left;
      scan(c, p + i, k);
      i += k;
      c->left -= k;
      if (!c->left) c->cst = 2;
    } else if (c->cst == 2) {
      if (p[i++] == '\n') {
        c->cst = 0;
        c->left = 0;
        c->clen = 0;
      }
    } else {
      char ch = p[i++];
      if (ch == '\n') {
        if (c->clen == 0) return 1;
        c->clen = 0;
      } else if (ch != '\r') c->clen++;
    }
  }
  return 0;
}
static void on_in(C *c) {
  for (;;) {
    if (c->st == HEAD || c->st == SENDING) {
      ssize_t k = recv(c->fd, c->buf + c->n, sizeof c->buf - c->n, 0);
      if (k < 0 && errno == EAGAIN) return;
      if (k <= 0) {
        if (c->st == SENDING && errno == EINPROGRESS) return;
        finish(c, 0);
        return;
      }
      c->n += k;
      bytes_in += k;
      char *e = memmem(c->buf, c->n, "\r\n\r\n", 4);
      if (!e) continue;
      c->status = atoi(c->buf + 9);
      c->chunked = 0;
      c->clen = -1;
      c->close_after = 0;
      c->cst = 0;
      c->left = 0;
      for (char *p = c->buf; p < e;) {
        char *q = memmem(p, e + 2 - p, "\r\n", 2);
        if (!strncasecmp(p, "content-length:", 15)) c->clen = atol(p + 15);
        else if (!strncasecmp(p, "transfer-encoding:", 18)) c->chunked = 1;
        else if (!strncasecmp(p, "connection: close", 17)) c->close_after = 1;
        p = q + 2;
      }
      if (c->status != 200 && !badtext[0]) {
        size_t l = c->n < 290 ? c->n : 290;
        for (size_t i = 0; i < l; i++) {
          char ch = c->buf[i];
          badtext[i] = (ch < 32 || ch == '"' || ch == '\\') ? ' ' : ch;
        }
      }
      c->st = BODY;
      if (c->chunked) c->clen = 0;
      else c->left = c->clen;
      size_t used = e + 4 - c->buf;
      if (c->n > used || c->clen == 0) {
        if (c->n > used) {
          if (body(c, c->buf + used, c->n - used)) {
            finish(c, 1);
            return;
          }
        } else if (!c->chunked && c->clen == 0) {
          finish(c, 1);
          return;
        }
      }
      continue;
    }
    if (c->st == BODY) {
      ssize_t k = recv(c->fd, c->buf, sizeof c->buf, 0);
      if (k < 0 && errno == EAGAIN) return;
      if (k <= 0) {
        c->close_after = 1;
        finish(c, !c->chunked && c->clen < 0);
        return;
      }
      bytes_in += k;
      if (body(c, c->buf, k)) {
        finish(c, 1);
        return;
      }
      if ((size_t)k < sizeof c->buf) return;
      continue;
    }
    char x;
    ssize_t k = recv(c->fd, &x, 1, 0); // idle connection: closed by the peer?
    if (k == 0 || (k < 0 && errno != EAGAIN)) {
      drop(c);
      reconnects++;
    }
    return;
  }
}
static void show(const char *k, Arr *a, int last) {
  qsort(a->v, a->n, sizeof(float), cmpf);
  double s = 0;
  for (size_t i = 0; i < a->n; i++) s += a->v[i];
  printf("\"%s\":{\"n\":%zu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}%s",
         k, a->n, a->n ? s / a->n : -1, pct(a, .5), pct(a, .9), pct(a, .99), pct(a, 1),
         last ? "" : ",");
}
int main(int argc, char **argv) {
  char *path = "/v1/chat/completions", *bf = "body.json", hdr[8192] = "";
  double secs = 5, grace = 10;
  long stagger = 0;
  int o;
  while ((o = getopt(argc, argv, "p:u:b:H:c:d:n:m:r:o:g:s:")) > 0) switch (o) {
    case 'p': port = atoi(optarg); break;
    case 'u': path = optarg; break;
    case 'b': bf = optarg; break;
    case 'H':
      if (strlen(hdr) + strlen(optarg) + 3 > sizeof hdr) return 2;
      strcat(hdr, optarg);
      strcat(hdr, "\r\n");
      break;
    case 'c': nc = atoi(optarg); break;
    case 'd': secs = atof(optarg); break;
    case 'n': maxn = atol(optarg); break;
    case 'm': marks_min = atoi(optarg); break;
    case 'r': rate = atof(optarg); break;
    case 's': stagger = atol(optarg); break;
    case 'o': oneshot = atoi(optarg); break;
    case 'g': grace = atof(optarg); break;
    default: return 2;
    }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit rl = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &rl);
  FILE *f = fopen(bf, "rb");
  if (!f) {
    perror(bf);
    return 1;
  }
  fseek(f, 0, SEEK_END);
  long bl = ftell(f);
  rewind(f);
  req = malloc(bl + 16384);
  reqn = sprintf(
      req,
      "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: */*\r\n%sContent-Length: %ld\r\n\r\n",
      path, port, hdr, bl);
  if (fread(req + reqn, 1, bl, f) != (size_t)bl) return 1;
  reqn += bl;
  ep = epoll_create1(0);
  cs = calloc(nc, sizeof(C));
  for (int i = 0; i < nc; i++) cs[i].fd = -1;
  T0 = us();
  TEND = T0 + (uint64_t)(secs * 1e6);
  W0 = T0 + (uint64_t)(secs > 2 ? 1000000 : 0);
  step_us = rate > 0 ? 1e6 / rate : 0;
  double dued = T0;
  if (rate <= 0 && !oneshot && !stagger)
    for (int i = 0; i < nc && (maxn < 0 || sent < maxn); i++) start(&cs[i], us());
  int opened = 0;
  static struct epoll_event ev[1024];
  uint64_t tend_real = 0;
  for (;;) {
    uint64_t t = us();
    int to = 100;
    if (oneshot && opened < nc) {
      long due = (long)((t - T0) / 10000 + 1) * oneshot;
      while (opened < nc && opened < due) start(&cs[opened++], us());
      to = 10;
    }
    if (stagger && !rate) {
      while (opened < nc && t < TEND && T0 + (uint64_t)opened * stagger <= t)
        start(&cs[opened++], us());
      if (opened < nc) {
        long w = (long)(T0 + (uint64_t)opened * stagger - us()) / 1000;
        to = w < 0 ? 0 : w > 50 ? 50 : (int)w;
      }
    }
    if (rate > 0) {
      while (dued <= t && dued < TEND && (maxn < 0 || sent < maxn)) {
        int i;
        for (i = 0; i < nc; i++)
          if (cs[i].st == FREE) break;
        if (i == nc) break;
        start(&cs[i], (uint64_t)dued);
        dued += step_us;
      }
      to = dued > t ? (int)((dued - t) / 1000) : 1;
      if (to > 50) to = 50;
    }
    if (!inflight && !(stagger && opened < nc && t < TEND) &&
        ((t >= TEND) || (maxn >= 0 && sent >= maxn) || (oneshot && opened == nc)))
      break;
    if (t > TEND + (uint64_t)(grace * 1e6)) {
      bad += inflight;
      break;
    }
    int n = epoll_wait(ep, ev, 1024, to);
    for (int i = 0; i < n; i++) {
      C *c = ev[i].data.ptr;
      if (c->fd < 0) continue;
      if (c->st == SENDING && !c->ever && (ev[i].events & (EPOLLERR | EPOLLHUP))) {
        conn_err++;
        finish(c, 0);
        continue;
      }
      if (ev[i].events & EPOLLOUT) {
        c->ever = 1;
        if (c->st == SENDING) push(c);
        else mod(c, EPOLLIN);
      }
      if (c->fd >= 0 && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_in(c);
    }
    if (oneshot) {
      long s = 0;
      for (int i = 0; i < nc; i++)
        if (cs[i].st == BODY && cs[i].marks) s++;
      if (s > peak_streaming) peak_streaming = s;
    }
    tend_real = us();
  }
  if (!tend_real) tend_real = us();
  double dur = (tend_real - T0) / 1e6;
  printf(
      "{\"ok\":%ld,\"bad\":%ld,\"sec\":%.3f,\"rps\":%.1f,\"chunks\":%ld,\"chunks_s\":%.1f,\"reconnects\":%ld,\"conn_err\":%ld,\"bytes_in\":%ld,\"peak_streaming\":%ld,",
      ok, bad, dur, ok / dur, marks_total, marks_total / dur, reconnects, conn_err, bytes_in,
      peak_streaming);
  double win = (TEND - W0) / 1e6;
  printf("\"win_rps\":%.1f,\"win_chunks_s\":%.1f,", win_ok / win, win_marks / win);
  printf("\"badstatus\":[");
  for (int i = 0; i < nbad; i++) printf("%d%s", badstatus[i], i + 1 < nbad ? "," : "");
  printf("],\"badtext\":\"%s\",", badtext);
  show("lat", &lat, 0);
  show("ttft", &ttft, 0);
  show("hop", &hop, 0);
  show("gap", &gap, 1);
  printf("}\n");
  return 0;
}
