/*
 * The calls that move data, and those on sockets: see interpose.c.
 */
#define _DEFAULT_SOURCE
#include "interpose.h"
#include "system.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- read and write ---- */

static ssize_t simulate_read(int descriptor, struct target target, void *buffer, size_t length)
{
    struct names names;
    size_t got = 0;

    if (target.ndrv != NULL) /* a packet socket that gets nothing; after its interface, the end */
        return target.ndrv->broken ? 0 : linux_read(descriptor, buffer, length);
    kernel_lock();
    struct call call = call_on(target, &names, "read", 0);
    int error = kernel_fault(&call);
    if (error == 0)
        error = kernel_misanswer(&call, bpf_read(descriptor, target.bpf, buffer, length, &got));
    if (error != 0 && error != EAGAIN)
        kernel_log(&call, error);
    kernel_unlock();
    return error == 0 ? (ssize_t)got : answer(error);
}

static ssize_t simulate_write(int descriptor, struct target target, const void *data, size_t length,
                              int flags)
{
    struct names names;

    kernel_lock();
    struct call call =
        call_on(target, &names, target.bpf != NULL ? "bpf_write" : "ndrv_write", (int64_t)length);
    size_t taken = length;
    int error = kernel_fault(&call);
    if (error == 0)
        error = target.bpf != NULL ? bpf_write(descriptor, target.bpf, data, &taken)
                                   : ndrv_write(descriptor, target.ndrv, data, length);
    error = kernel_misanswer(&call, error);
    if (error != 0) {
        kernel_count(COUNTER_refused_writes, 1);
        kernel_log(&call, error);
    }
    kernel_unlock();
    if (error == EPIPE && (flags & MSG_NOSIGNAL) == 0)
        raise(SIGPIPE);
    return error == 0 ? (ssize_t)taken : answer(error);
}

EXPORT ssize_t read(int descriptor, void *buffer, size_t length)
{
    struct target target = find(descriptor);
    return is_simulated(target) ? simulate_read(descriptor, target, buffer, length)
                                : linux_read(descriptor, buffer, length);
}

EXPORT ssize_t __read_chk(int descriptor, void *buffer, size_t length, size_t room)
{
    if (length > room)
        abort();
    return read(descriptor, buffer, length);
}

static bool is_route(int descriptor)
{
    struct stat status;

    return kernel != NULL && fstat(descriptor, &status) == 0 && route_is(status.st_ino);
}

static ssize_t ask_for_route(const void *data, size_t length)
{
    kernel_lock();
    int error = route_write(data, length);
    kernel_unlock();
    return error == 0 ? (ssize_t)length : answer(error);
}

EXPORT ssize_t write(int descriptor, const void *data, size_t length)
{
    struct target target = find(descriptor);
    if (!is_simulated(target) && is_route(descriptor))
        return ask_for_route(data, length);
    return is_simulated(target) ? simulate_write(descriptor, target, data, length, 0)
                                : linux_write(descriptor, data, length);
}

static size_t total(const struct iovec *vectors, size_t count)
{
    size_t length = 0;

    for (size_t i = 0; i < count; i++)
        length += vectors[i].iov_len;
    return length;
}

static ssize_t gather(int descriptor, struct target target, const struct iovec *vectors,
                      size_t count, int flags)
{
    uint8_t *whole = malloc(total(vectors, count) + 1);
    size_t length = 0;

    if (whole == NULL)
        return answer(ENOMEM);
    for (size_t i = 0; i < count; i++) {
        memcpy(whole + length, vectors[i].iov_base, vectors[i].iov_len);
        length += vectors[i].iov_len;
    }
    ssize_t result = simulate_write(descriptor, target, whole, length, flags);
    free(whole);
    return result;
}

EXPORT ssize_t writev(int descriptor, const struct iovec *vectors, int count)
{
    struct target target = find(descriptor);
    return is_simulated(target) ? gather(descriptor, target, vectors, (size_t)count, 0)
                                : syscall(SYS_writev, descriptor, vectors, count);
}

EXPORT ssize_t readv(int descriptor, const struct iovec *vectors, int count)
{
    struct target target = find(descriptor);

    if (!is_simulated(target))
        return syscall(SYS_readv, descriptor, vectors, count);
    size_t length = total(vectors, (size_t)count);
    uint8_t *whole = malloc(length + 1);
    if (whole == NULL)
        return answer(ENOMEM);
    ssize_t result = simulate_read(descriptor, target, whole, length);
    size_t left = result > 0 ? (size_t)result : 0, done = 0;
    for (int i = 0; left > 0; i++) {
        size_t part = left < vectors[i].iov_len ? left : vectors[i].iov_len;
        memcpy(vectors[i].iov_base, whole + done, part);
        done += part;
        left -= part;
    }
    free(whole);
    return result;
}

/* ---- sockets ---- */

/* A BPF device is a socket here, but not on Darwin. */
static bool refuse_bpf(struct target target, const char *name)
{
    if (target.bpf == NULL)
        return false;
    kernel_lock();
    kernel_violation("%s on a BPF device", name);
    kernel_unlock();
    errno = ENOTSOCK;
    return true;
}

EXPORT int socket(int domain, int type, int protocol)
{
    struct call call = {"socket", "ndrv", NULL, 0};
    int descriptor = -1;

    if (kernel != NULL && domain == DARWIN_AF_ROUTE) {
        int refused = route_open(type, &descriptor);
        return refused == 0 ? descriptor : answer(refused);
    }
    if (kernel == NULL || domain != DARWIN_AF_NDRV)
        return linux_socket(domain, type, protocol);
    kernel_lock();
    int error = kernel_fault(&call);
    if (error == 0)
        error = kernel_misanswer(&call, ndrv_open(type, protocol, &descriptor));
    kernel_log(&call, error);
    kernel_unlock();
    return error == 0 ? descriptor : answer(error);
}

static int name_ndrv(struct target target, const char *name, const void *address, size_t length,
                     int (*action)(struct ndrv_socket *, const uint8_t *, size_t))
{
    uint8_t copy[128] = {0};
    struct names names;

    if (length > sizeof copy)
        return EINVAL;
    int error = copy_in(copy, address, length);
    if (error != 0)
        return error;
    kernel_lock();
    struct call call = call_on(target, &names, name, 0);
    memcpy(names.interface, copy + 2, NAME_SIZE - 1);
    error = kernel_fault(&call);
    if (error == 0)
        error = kernel_misanswer(&call, action(target.ndrv, copy, length));
    kernel_log(&call, error);
    kernel_unlock();
    return error;
}

EXPORT int bind(int descriptor, const struct sockaddr *address, socklen_t length)
{
    struct target target = find(descriptor);

    if (refuse_bpf(target, "bind"))
        return -1;
    if (target.ndrv != NULL)
        return answer(name_ndrv(target, "bind", address, length, ndrv_bind));
    return linux_bind(descriptor, address, length);
}

EXPORT int connect(int descriptor, const struct sockaddr *address, socklen_t length)
{
    struct target target = find(descriptor);

    if (refuse_bpf(target, "connect"))
        return -1;
    if (target.ndrv != NULL)
        return answer(name_ndrv(target, "connect", address, length, ndrv_connect));
    return (int)syscall(SYS_connect, descriptor, address, length);
}

/* Python's socket(fileno=) looks for the family here, and where it is on Linux. */
EXPORT int getsockname(int descriptor, struct sockaddr *address, socklen_t *length)
{
    struct target target = find(descriptor);

    if (refuse_bpf(target, "getsockname"))
        return -1;
    if (target.ndrv == NULL)
        return (int)syscall(SYS_getsockname, descriptor, address, length);
    if (!target.ndrv->named)
        return answer(EINVAL);
    struct sockaddr whole = {.sa_family = DARWIN_AF_NDRV};
    size_t size = *length < sizeof whole ? *length : sizeof whole;
    memcpy(whole.sa_data, target.ndrv->interface_name, sizeof whole.sa_data);
    memcpy(address, &whole, size);
    *length = (socklen_t)size;
    return 0;
}

static int ndrv_option(struct target target, const char *name, int *value, bool set)
{
    struct names names;

    kernel_lock();
    struct call call = call_on(target, &names, name, set ? *value : 0);
    int error = kernel_fault(&call);
    if (error == 0 && set)
        error = ndrv_set_send_buffer(target.ndrv, *value);
    else if (error == 0)
        *value = target.ndrv->send_buffer;
    kernel_log(&call, error);
    kernel_unlock();
    return error;
}

EXPORT int setsockopt(int descriptor, int level, int option, const void *value, socklen_t length)
{
    struct target target = find(descriptor);
    int number;

    if (refuse_bpf(target, "setsockopt"))
        return -1;
    if (target.ndrv == NULL || level != SOL_SOCKET || option != SO_SNDBUF)
        return linux_setsockopt(descriptor, level, option, value, length);
    if (length < sizeof number)
        return answer(EINVAL);
    int error = copy_in(&number, value, sizeof number);
    return answer(error != 0 ? error : ndrv_option(target, "setsockopt", &number, true));
}

EXPORT int getsockopt(int descriptor, int level, int option, void *value, socklen_t *length)
{
    struct target target = find(descriptor);
    size_t size = *length;
    int number = 0;

    if (refuse_bpf(target, "getsockopt"))
        return -1;
    if (target.ndrv == NULL || level != SOL_SOCKET || option != SO_SNDBUF) {
        int result = linux_getsockopt(descriptor, level, option, value, &size);
        *length = (socklen_t)size;
        return result;
    }
    int error = size < sizeof number ? EINVAL : ndrv_option(target, "getsockopt", &number, false);
    if (error == 0)
        error = copy_out(value, &number, sizeof number);
    *length = sizeof number;
    return answer(error);
}

EXPORT ssize_t sendto(int descriptor, const void *data, size_t length, int flags,
                      const struct sockaddr *to, socklen_t to_length)
{
    struct target target = find(descriptor);

    if (refuse_bpf(target, "send"))
        return -1;
    if (target.ndrv == NULL)
        return linux_sendto(descriptor, data, length, flags, to, to_length);
    if (to != NULL && target.ndrv->connected)
        return answer(EISCONN);
    return simulate_write(descriptor, target, data, length, flags);
}

EXPORT ssize_t send(int descriptor, const void *data, size_t length, int flags)
{
    return sendto(descriptor, data, length, flags, NULL, 0);
}

EXPORT ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    struct target target = find(descriptor);

    if (refuse_bpf(target, "sendmsg"))
        return -1;
    if (target.ndrv == NULL)
        return syscall(SYS_sendmsg, descriptor, message, flags);
    if (message->msg_controllen != 0)
        return answer(EOPNOTSUPP);
    return gather(descriptor, target, message->msg_iov, message->msg_iovlen, flags);
}
