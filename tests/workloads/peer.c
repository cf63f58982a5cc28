/* peer FAMILY ADDRESS PREFIX CASE...: both ends of HTTP connections, each message moved by one chosen system call.
 *
 * FAMILY is tcp4, tcp6 (ADDRESS is a port of the loopback interface) or unix (ADDRESS is a path). A CASE is
 * SEND:RECEIVE:REQUEST:RESPONSE, content lengths in bytes. Each case has a connection of its own and two exchanges
 * on it: POST PREFIX/SEND/RECEIVE/1 with REQUEST bytes answered by RESPONSE bytes, and the same with /2. The server is
 * a child of the client. Prints "server PID" and "client PID" before the first exchange, and waits until the file named by
 * the variable GO exists; prints "done" at the end. Exit status 1 with a message when anything goes wrong. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 << 20 };

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static void all(int fd, const char *data, size_t length, size_t step) {
    while (length > 0) {
        ssize_t wrote = write(fd, data, length < step ? length : step);
        if (wrote < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, 30000);
            continue;
        }
        if (wrote <= 0) die("write");
        data += wrote;
        length -= wrote;
    }
}

static int file_of(const char *data, size_t length) {
    int file = memfd_create("content", 0);
    if (file < 0) die("memfd_create");
    all(file, data, length, MOST);
    lseek(file, 0, SEEK_SET);
    return file;
}

static void by_sendfile(int fd, const char *data, size_t length) {
    int file = file_of(data, length);
    while (length > 0) {
        ssize_t sent = sendfile(fd, file, NULL, length);
        if (sent <= 0) die("sendfile");
        length -= sent;
    }
    close(file);
}

static void by_splice(int fd, const char *data, size_t length) {
    int file = file_of(data, length), ends[2];
    if (pipe(ends)) die("pipe");
    while (length > 0) {
        ssize_t in = splice(file, NULL, ends[1], NULL, length, 0);
        if (in <= 0) die("splice in");
        for (ssize_t left = in; left > 0;) {
            ssize_t out = splice(ends[0], NULL, fd, NULL, left, 0);
            if (out <= 0) die("splice out");
            left -= out;
        }
        length -= in;
    }
    close(ends[0]), close(ends[1]), close(file);
}

/* Buffers of `step` bytes each, an empty one first, at most `most` of them; the rest in the last. */
static int cut(struct iovec *vectors, int most, char *data, size_t length, size_t step) {
    int count = 0;
    vectors[count++] = (struct iovec){.iov_base = data, .iov_len = 0};
    while (length > 0) {
        size_t size = count == most - 1 || length < step ? length : step;
        vectors[count++] = (struct iovec){.iov_base = data, .iov_len = size};
        data += size;
        length -= size;
    }
    return count;
}

/* What a call left unsent is sent plainly, after it. */
static void rest(int fd, const char *data, size_t length, ssize_t sent, const char *call) {
    if (sent <= 0) die("%s", call);
    all(fd, data + sent, length - sent, MOST);
}

static void by_zerocopy(int fd, const char *data, size_t length) {
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one)) die("SO_ZEROCOPY");
    rest(fd, data, length, send(fd, data, length, MSG_ZEROCOPY), "send MSG_ZEROCOPY");
    char control[128];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    struct pollfd wait = {.fd = fd, .events = 0};
    poll(&wait, 1, 30000);
    if (recvmsg(fd, &message, MSG_ERRQUEUE) < 0) die("error queue");
}

/* One operation by way of a ring of one entry, which is made at the first; what it answers. */
static ssize_t by_ring(int operation, int fd, char *data, size_t length) {
    static int ring = -1;
    static struct io_uring_params at;
    static char *queues;
    static struct io_uring_sqe *entry;
    if (ring < 0) {
        int access = PROT_READ | PROT_WRITE;
        ring = syscall(SYS_io_uring_setup, 1, &at);
        if (ring < 0) die("io_uring_setup");
        queues = mmap(NULL, 4096, access, MAP_SHARED, ring, IORING_OFF_SQ_RING);
        entry = mmap(NULL, sizeof *entry, access, MAP_SHARED, ring, IORING_OFF_SQES);
        if (queues == MAP_FAILED || entry == MAP_FAILED) die("mmap of the ring");
    }
    *entry = (struct io_uring_sqe){.opcode = operation, .fd = fd, .addr = (unsigned long)data, .len = length};
    unsigned *tail = (unsigned *)(queues + at.sq_off.tail), *head = (unsigned *)(queues + at.cq_off.head);
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) die("io_uring_enter");
    unsigned mask = *(unsigned *)(queues + at.cq_off.ring_mask);
    ssize_t answer = ((struct io_uring_cqe *)(queues + at.cq_off.cqes))[*head & mask].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    errno = answer < 0 ? -answer : 0;
    return answer < 0 ? -1 : answer;
}

static void transmit(int fd, const char *how, char *data, size_t length, size_t head) {
    struct iovec vectors[64];
    if (!strcmp(how, "write")) {
        all(fd, data, length, MOST);
    } else if (!strcmp(how, "bytewise")) {
        all(fd, data, length, 1);
    } else if (!strcmp(how, "nonblocking")) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        all(fd, data, length, MOST);
        fcntl(fd, F_SETFL, 0);
    } else if (!strcmp(how, "writev")) {
        rest(fd, data, length, writev(fd, vectors, cut(vectors, 16, data, length, 11)), how);
    } else if (!strcmp(how, "send")) {
        rest(fd, data, length, send(fd, data, length, MSG_NOSIGNAL), how);
    } else if (!strcmp(how, "sendto")) {
        rest(fd, data, length, sendto(fd, data, length, 0, NULL, 0), how);
    } else if (!strcmp(how, "sendmsg")) {
        struct msghdr message = {.msg_iov = vectors, .msg_iovlen = cut(vectors, 64, data, length, 5)};
        rest(fd, data, length, sendmsg(fd, &message, 0), how);
    } else if (!strcmp(how, "sendmmsg")) {
        struct mmsghdr messages[3] = {0};
        size_t ends[4] = {0, head / 2, head, length};
        unsigned int count = length > head ? 3 : 2;
        for (unsigned int index = 0; index < count; index++) {
            vectors[index] = (struct iovec){data + ends[index], ends[index + 1] - ends[index]};
            messages[index].msg_hdr = (struct msghdr){.msg_iov = &vectors[index], .msg_iovlen = 1};
        }
        if (sendmmsg(fd, messages, count, 0) != (int)count) die("sendmmsg");
        rest(fd, data + ends[count - 1], length - ends[count - 1], messages[count - 1].msg_len, how);
    } else if (!strcmp(how, "sendfile")) {
        if (send(fd, data, head, MSG_MORE) != (ssize_t)head) die("send MSG_MORE");
        by_sendfile(fd, data + head, length - head);
    } else if (!strcmp(how, "sendfile-all")) {
        by_sendfile(fd, data, length);
    } else if (!strcmp(how, "splice")) {
        all(fd, data, head, MOST);
        by_splice(fd, data + head, length - head);
    } else if (!strcmp(how, "splice-all")) {
        by_splice(fd, data, length);
    } else if (!strcmp(how, "ring")) {
        rest(fd, data, length, by_ring(IORING_OP_SEND, fd, data, length), how);
    } else if (!strcmp(how, "zerocopy")) {
        by_zerocopy(fd, data, length);
    } else {
        errno = EINVAL;
        die("send %s", how);
    }
}

static ssize_t into(int fd, const char *how, char *data, size_t room) {
    struct iovec vectors[4] = {{data, 0}, {data, 7}, {data + 7, 50}, {data + 57, 4000}};
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 4};
    size_t size = room < 4057 ? room : 4057;
    if (!strcmp(how, "read")) return read(fd, data, room < 65536 ? room : 65536);
    if (!strcmp(how, "bytewise")) return read(fd, data, 1);
    if (!strcmp(how, "recv")) return recv(fd, data, size, 0);
    if (!strcmp(how, "recvfrom")) return recvfrom(fd, data, size, 0, NULL, NULL);
    if (!strcmp(how, "ring")) return by_ring(IORING_OP_RECV, fd, data, size);
    if (!strcmp(how, "readv")) return readv(fd, vectors, 4);
    if (!strcmp(how, "recvmsg")) return recvmsg(fd, &message, 0);
    if (!strcmp(how, "recvmmsg")) {
        struct iovec pieces[3] = {{data, 40}, {data + 40, 60}, {data + 100, 3000}};
        struct mmsghdr messages[3] = {0};
        for (int index = 0; index < 3; index++)
            messages[index].msg_hdr = (struct msghdr){.msg_iov = &pieces[index], .msg_iovlen = 1};
        int count = recvmmsg(fd, messages, 3, MSG_WAITFORONE, NULL);
        ssize_t total = count < 0 ? -1 : 0;
        for (int index = 0; index < count; index++) {
            /* A short message in the middle leaves a hole: close it. */
            memmove(data + total, pieces[index].iov_base, messages[index].msg_len);
            total += messages[index].msg_len;
        }
        return total;
    }
    if (!strcmp(how, "peek")) {
        if (recv(fd, data, size, MSG_PEEK) < 0) return -1;
        if (recv(fd, data, size < 20 ? size : 20, MSG_PEEK) < 0) return -1;
        return recv(fd, data, size, 0);
    }
    errno = EINVAL;
    die("receive %s", how);
    return -1;
}

/* The head alone, found by peeking; then `drop` of content that never reaches memory of ours. */
static size_t exact_head(int fd, char *data, size_t room) {
    for (;;) {
        ssize_t seen = recv(fd, data, room, MSG_PEEK);
        if (seen < 0) die("peek");
        if (seen == 0) return 0;
        char *end = memmem(data, seen, "\r\n\r\n", 4);
        if (end) {
            size_t head = end + 4 - data;
            if (recv(fd, data, head, MSG_WAITALL) != (ssize_t)head) die("head");
            return head;
        }
        usleep(1000);
    }
}

static void drop(int fd, const char *how, size_t length) {
    int ends[2], null = open("/dev/null", O_WRONLY);
    if (pipe(ends)) die("pipe");
    while (length > 0) {
        ssize_t moved;
        if (!strcmp(how, "truncate")) {
            char unused[512];
            moved = recv(fd, unused, length < sizeof unused ? length : sizeof unused, MSG_TRUNC);
        } else {
            moved = splice(fd, NULL, ends[1], NULL, length, 0);
            if (moved > 0 && splice(ends[0], NULL, null, NULL, moved, 0) != moved) die("splice on");
        }
        if (moved <= 0) die("%s", how);
        length -= moved;
    }
    close(ends[0]), close(ends[1]), close(null);
}

static size_t content_length(const char *head) {
    const char *field = strcasestr(head, "content-length:");
    return field ? strtoul(field + 15, NULL, 10) : 0;
}

/* One whole message; 0 at the end of the stream. */
static size_t receive(int fd, const char *how, char *data, size_t room, char sign) {
    size_t got = 0, head = 0, length = 0;
    if (!strcmp(how, "truncate") || !strcmp(how, "splice")) {
        head = exact_head(fd, data, room - 1);
        data[head] = 0;
        if (head) drop(fd, how, content_length(data));
        return head;
    }
    for (;;) {
        ssize_t more = into(fd, how, data + got, room - got - 1);
        if (more < 0) die("%s", how);
        if (more == 0 && got == 0) return 0;
        if (more == 0) die("cut off after %zu", got);
        got += more;
        data[got] = 0;
        char *end = head ? NULL : memmem(data, got, "\r\n\r\n", 4);
        if (end) {
            head = end + 4 - data;
            length = head + content_length(data);
        }
        if (head && got == length) break;
    }
    for (size_t index = head; index < got; index++)
        if (data[index] != sign) die("byte %zu is %d", index, data[index]);
    return got;
}

static union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
} address;
static socklen_t address_length;
static char host[64];

static void name(const char *family, const char *text) {
    memset(&address, 0, sizeof address);
    if (!strcmp(family, "tcp4")) {
        address.v4 = (struct sockaddr_in){AF_INET, htons(atoi(text)), {htonl(INADDR_LOOPBACK)}, {0}};
        address_length = sizeof address.v4;
        snprintf(host, sizeof host, "127.0.0.1:%s", text);
    } else if (!strcmp(family, "tcp6")) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(atoi(text));
        address.v6.sin6_addr = in6addr_loopback;
        address_length = sizeof address.v6;
        snprintf(host, sizeof host, "[::1]:%s", text);
    } else {
        address.path.sun_family = AF_UNIX;
        strncpy(address.path.sun_path, text, sizeof address.path.sun_path - 1);
        address_length = sizeof address.path;
        strcpy(host, "localhost");
    }
}

int main(int count, char **arguments) {
    if (count < 5) return 2;
    char *data = malloc(MOST), *prefix = arguments[3];
    name(arguments[1], arguments[2]);
    int listener = socket(address.any.sa_family, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, &address.any, address_length) || listen(listener, 8)) die("listen");
    pid_t server = fork();
    if (server == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (server) {
        printf("server %d\nclient %d\n", server, getpid());
        fflush(stdout);
    }
    while (getenv("GO") && access(getenv("GO"), F_OK)) usleep(5000);
    for (int index = 4; index < count; index++) {
        char sending[32], receiving[32];
        size_t request, response;
        if (sscanf(arguments[index], "%31[^:]:%31[^:]:%zu:%zu", sending, receiving, &request, &response) != 4) return 2;
        int fd;
        if (server == 0) {
            fd = accept(listener, NULL, NULL);
            if (fd < 0) die("accept");
            while (receive(fd, receiving, data, MOST, 'q')) {
                size_t head = sprintf(data, "HTTP/1.1 200 OK\r\nX-Sent-By: %s\r\nContent-Length: %zu\r\n\r\n", sending, response);
                memset(data + head, 's', response);
                transmit(fd, sending, data, head + response, head);
            }
        } else {
            fd = socket(address.any.sa_family, SOCK_STREAM, 0);
            if (connect(fd, &address.any, address_length)) die("connect");
            for (int round = 1; round <= 2; round++) {
                size_t head = sprintf(data, "POST %s/%s/%s/%d HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n\r\n", prefix,
                                      sending, receiving, round, host, request);
                memset(data + head, 'q', request);
                transmit(fd, sending, data, head + request, head);
                if (!receive(fd, receiving, data, MOST, 's')) die("no response");
                if (strncmp(data, "HTTP/1.1 200", 12)) die("response");
            }
        }
        close(fd);
    }
    if (server == 0) return 0;
    int status;
    waitpid(server, &status, 0);
    if (status) return 1;
    puts("done");
    return 0;
}
