/*
 * Linux's own calls, through syscall(2): this library stands where the C library's functions were,
 * and must not call itself.
 */
#define _DEFAULT_SOURCE
#include "kernel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int linux_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int linux_socket(int domain, int type, int protocol)
{
    return (int)syscall(SYS_socket, domain, type, protocol);
}

int linux_bind(int descriptor, const void *address, size_t length)
{
    return (int)syscall(SYS_bind, descriptor, address, (socklen_t)length);
}

int linux_ioctl(int descriptor, unsigned long request, void *argument)
{
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}

int linux_setsockopt(int descriptor, int level, int option, const void *value, size_t length)
{
    return (int)syscall(SYS_setsockopt, descriptor, level, option, value, (socklen_t)length);
}

int linux_getsockopt(int descriptor, int level, int option, void *value, size_t *length)
{
    socklen_t size = (socklen_t)*length;
    int result = (int)syscall(SYS_getsockopt, descriptor, level, option, value, &size);

    *length = size;
    return result;
}

ssize_t linux_read(int descriptor, void *buffer, size_t length)
{
    return syscall(SYS_read, descriptor, buffer, length);
}

ssize_t linux_write(int descriptor, const void *buffer, size_t length)
{
    return syscall(SYS_write, descriptor, buffer, length);
}

ssize_t linux_sendto(int descriptor, const void *data, size_t length, int flags, const void *to,
                     size_t to_length)
{
    return syscall(SYS_sendto, descriptor, data, length, flags, to, (socklen_t)to_length);
}
