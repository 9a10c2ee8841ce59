/* Loaded into the product with LD_PRELOAD: counts its netfilter batches and makes its netlink path fail, as files in $SHIM_DIR say.
 *   sends       one byte is added for each batch that is sent (where the file exists)
 *   send-fails  while it exists, sending fails with the errno that is its content
 *   acks-lost   as many messages as it has bytes are read from the kernel and thrown away: recv gives ENOBUFS */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int of_netfilter(int fd) {
    int domain = 0, protocol = 0;
    socklen_t length = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) || domain != AF_NETLINK) return 0;
    length = sizeof protocol;
    return !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) && protocol == NETLINK_NETFILTER;
}

static int open_file(const char *name, int flags) {
    char path[4096];
    const char *dir = getenv("SHIM_DIR");
    if (!dir) return -1;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return open(path, flags | O_CLOEXEC);
}

/* The errno to fail with, or 0. */
static int send_fails(const void *bytes, size_t length) {
    const struct nlmsghdr *header = bytes;
    int fd, wanted = 0;
    if (length >= sizeof *header && header->nlmsg_type == NFNL_MSG_BATCH_BEGIN && (fd = open_file("sends", O_WRONLY | O_APPEND)) >= 0) {
        if (write(fd, "+", 1) != 1) abort();
        close(fd);
    }
    if ((fd = open_file("send-fails", O_RDONLY)) >= 0) {
        char text[16] = "";
        if (read(fd, text, sizeof text - 1) > 0) wanted = atoi(text);
        close(fd);
    }
    return wanted;
}

static int ack_is_lost(void) {
    struct stat seen;
    int fd = open_file("acks-lost", O_RDWR), lost = 0;
    if (fd < 0) return 0;
    if (!fstat(fd, &seen) && seen.st_size > 0) {
        lost = 1;
        if (ftruncate(fd, seen.st_size - 1)) abort();
    }
    close(fd);
    return lost;
}

static ssize_t received(int fd, ssize_t length) {
    if (length > 0 && of_netfilter(fd) && ack_is_lost()) {
        errno = ENOBUFS;
        return -1;
    }
    return length;
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
    int fails = of_netfilter(fd) ? send_fails(bytes, length) : 0;
    if (fails) {
        errno = fails;
        return -1;
    }
    return real(fd, bytes, length, flags, to, to_length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ssize_t (*real)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    int fails = of_netfilter(fd) && message->msg_iovlen ? send_fails(message->msg_iov[0].iov_base, message->msg_iov[0].iov_len) : 0;
    if (fails) {
        errno = fails;
        return -1;
    }
    return real(fd, message, flags);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    return received(fd, real(fd, bytes, length, flags));
}

ssize_t recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *from, socklen_t *from_length) {
    ssize_t (*real)(int, void *, size_t, int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "recvfrom");
    return received(fd, real(fd, bytes, length, flags, from, from_length));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    ssize_t (*real)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
    return received(fd, real(fd, message, flags));
}
