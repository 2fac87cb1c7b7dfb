/*
 * The calls of the C library that the program makes, and where each goes: to the simulated kernel
 * when it concerns it, else to Linux.
 *
 * Linux is called through syscall(2), so that nothing here calls itself.  Whether a descriptor is
 * simulated is found out without the lock: a signal handler may write to its own pipe while this
 * thread holds it.
 */
#define _DEFAULT_SOURCE
#include "interpose.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- start ---- */

static void stop(const char *why)
{
    static const char prefix[] = "simulated Darwin: cannot use $DARWIN_STATE: ";

    if (linux_write(2, prefix, sizeof prefix - 1) < 0 || linux_write(2, why, strlen(why)) < 0)
        _exit(126);
    _exit(127);
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("DARWIN_STATE");

    if (path == NULL)
        return;
    kernel = state_map(path);
    if (kernel == NULL)
        stop(strerror(errno));
    kernel_lock();
    kernel->processes[kernel->process_count++ % MAX_PROCESSES] = getpid();
    kernel_unlock();
}

/* ---- descriptors ---- */

struct target find(int descriptor)
{
    struct target target = {NULL, NULL};
    struct stat status;
    int saved = errno;

    if (kernel != NULL && fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode)) {
        target.bpf = bpf_lookup(status.st_ino);
        target.ndrv = ndrv_lookup(status.st_ino);
    }
    errno = saved;
    return target;
}

bool is_simulated(struct target target)
{
    return target.bpf != NULL || target.ndrv != NULL;
}

struct call call_on(struct target target, struct names *names, const char *name, int64_t value)
{
    const char *interface;

    if (target.bpf != NULL) {
        bpf_device_name(target.bpf, names->device);
        interface = target.bpf->interface_name;
    } else {
        snprintf(names->device, NAME_SIZE, "ndrv");
        interface = target.ndrv->interface_name;
    }
    memcpy(names->interface, interface, NAME_SIZE);
    return (struct call){name, names->device, names->interface, value};
}

int answer(int error)
{
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/* ---- open ---- */

static bool is_bpf_path(const char *path, unsigned int *unit)
{
    static const char prefix[] = "/dev/bpf";
    char *end;

    if (kernel == NULL || path == NULL || strncmp(path, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *digits = path + sizeof prefix - 1;
    if (*digits < '0' || *digits > '9')
        return false;
    *unit = (unsigned int)strtoul(digits, &end, 10);
    return *end == '\0';
}

static int open_bpf(unsigned int unit, int flags)
{
    char device[NAME_SIZE];
    int descriptor = -1;
    struct call call = {"open", device, NULL, 0};

    snprintf(device, sizeof device, "bpf%u", unit);
    kernel_lock();
    int error = kernel_fault(&call);
    if (error == 0)
        error = kernel_misanswer(&call, bpf_open(unit, flags, &descriptor));
    kernel_log(&call, error);
    kernel_unlock();
    return error == 0 ? descriptor : answer(error);
}

static int open_any(int directory, const char *path, int flags, mode_t mode)
{
    unsigned int unit;

    if (is_bpf_path(path, &unit))
        return open_bpf(unit, flags);
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

static mode_t optional_mode(int flags, va_list arguments)
{
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = optional_mode(flags, arguments);                                             \
        va_end(arguments);                                                                         \
        return open_any(AT_FDCWD, path, flags, mode);                                              \
    }
#define OPENAT(name)                                                                               \
    EXPORT int name(int directory, const char *path, int flags, ...)                               \
    {                                                                                              \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = optional_mode(flags, arguments);                                             \
        va_end(arguments);                                                                         \
        return open_any(directory, path, flags, mode);                                             \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* What programs call that were compiled with checks (_FORTIFY_SOURCE). */
EXPORT int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
    return open_any(directory, path, flags, 0);
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
    return open_any(directory, path, flags, 0);
}

/* ---- ioctl ---- */

#define REQUEST_IN 0x80000000
#define REQUEST_OUT 0x40000000
#define REQUEST_GROUP(request) ((request) >> 8 & 0xff)
#define REQUEST_SIZE(request) ((request) >> 16 & 0x1fff)
#define LINUX_FILE_REQUEST 'T' /* FIONBIO, FIOCLEX ...: Darwin has them too */
#define LINUX_SOCKET_REQUEST 0x89

union argument {
    uint8_t bytes[512]; /* the largest is in6_ifreq */
    uint64_t alignment;
    int32_t number;
    char name[NAME_SIZE];
};

/* The number that a request sets, for the log. */
static int64_t set_value(uint32_t request, const union argument *argument)
{
    int32_t value;

    switch (request) {
    case DARWIN_SIOCSIFFLAGS:
        return (uint16_t)(argument->bytes[16] | argument->bytes[17] << 8);
    case DARWIN_SIOCSIFMTU:
    case DARWIN_SIOCSIFMETRIC:
        memcpy(&value, argument->bytes + 16, sizeof value);
        return value;
    default:
        return REQUEST_GROUP(request) == 'B' && (request & REQUEST_IN) != 0 &&
                       REQUEST_SIZE(request) == sizeof value
                   ? argument->number
                   : 0;
    }
}

/* Copies the argument in and out as Darwin does, around the rules and the request itself. */
static int simulate_ioctl(int descriptor, struct target target, int domain, uint32_t request,
                          void *user)
{
    union argument argument = {.alignment = 0};
    size_t size = REQUEST_SIZE(request);
    struct names names;
    const char *name = request_name(request);
    int error = 0;

    if (size > sizeof argument)
        return EINVAL;
    if ((request & REQUEST_IN) != 0)
        error = copy_in(&argument, user, size);
    if (error != 0)
        return error;
    struct call call = {name, NULL, names.interface, set_value(request, &argument)};
    if (target.bpf != NULL) {
        call = call_on(target, &names, name, call.value);
        if (request == DARWIN_BIOCSETIF)
            memcpy(names.interface, argument.name, NAME_SIZE - 1);
    } else {
        memcpy(names.interface, argument.name, NAME_SIZE);
        names.interface[NAME_SIZE - 1] = '\0';
    }
    error = kernel_fault(&call);
    if (error == 0)
        error = target.bpf != NULL ? bpf_request(descriptor, target.bpf, request, &argument)
                                   : interface_request(domain, request, &argument);
    error = kernel_misanswer(&call, error);
    if (error == 0 && (request & REQUEST_OUT) != 0)
        error = copy_out(user, &argument, size);
    kernel_log(&call, error);
    return error;
}

static int unknown_request(struct target target, uint32_t request)
{
    kernel_violation("unknown request 0x%08x on %s", request,
                     target.bpf != NULL    ? "a BPF device"
                     : target.ndrv != NULL ? "an AF_NDRV socket"
                                           : "an interface socket");
    return target.bpf != NULL ? EINVAL : EOPNOTSUPP;
}

static bool is_group(uint32_t request, struct target target)
{
    return request_name(request) != NULL &&
           REQUEST_GROUP(request) == (target.bpf != NULL ? 'B' : 'i');
}

/* The domain of an interface socket, 0 for anything else. */
static int interface_socket(int descriptor)
{
    int domain = 0;
    size_t length = sizeof domain;

    if (linux_getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0)
        return 0;
    return domain == AF_INET || domain == AF_INET6 ? domain : 0;
}

EXPORT int ioctl(int descriptor, unsigned long wide_request, ...)
{
    uint32_t request = (uint32_t)wide_request;
    va_list arguments;

    va_start(arguments, wide_request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);

    struct target target = find(descriptor);
    bool simulated = is_simulated(target);
    bool of_interfaces =
        REQUEST_GROUP(request) == 'i' || REQUEST_GROUP(request) == LINUX_SOCKET_REQUEST;
    int saved = errno, domain = 0;
    if (kernel != NULL && !simulated && of_interfaces)
        domain = interface_socket(descriptor);
    errno = saved;
    if ((!simulated && domain == 0) || REQUEST_GROUP(request) == LINUX_FILE_REQUEST)
        return linux_ioctl(descriptor, wide_request, argument);
    kernel_lock();
    int error = is_group(request, target)
                    ? simulate_ioctl(descriptor, target, domain, request, argument)
                    : unknown_request(target, request);
    kernel_unlock();
    return answer(error);
}

/* ---- the system ---- */

/* Most have no Linux system call to fall back on, and need none: without a state nobody preloads */

EXPORT int uname(struct utsname *name)
{
    if (kernel == NULL)
        return (int)syscall(SYS_uname, name);
    return answer(system_uname(name));
}

EXPORT int sysctlbyname(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
{
    struct call call = {name, NULL, NULL, 0};

    if (kernel == NULL)
        return answer(ENOSYS);
    if (new != NULL && new_size == sizeof(int32_t)) {
        int32_t value = 0;
        if (copy_in(&value, new, sizeof value) == 0)
            call.value = value;
    }
    kernel_lock();
    int error = kernel_fault(&call);
    if (error == 0)
        error = system_sysctl(name, old, old_size, new, new_size);
    kernel_log(&call, error);
    kernel_unlock();
    return answer(error);
}

EXPORT int gethostuuid(uint8_t uuid[16], const struct timespec *patience)
{
    struct call call = {"gethostuuid", NULL, NULL, 0};

    if (kernel == NULL)
        return answer(ENOSYS);
    if (patience == NULL)
        return answer(EFAULT);
    kernel_lock();
    int error = kernel_fault(&call);
    if (error == 0)
        error = system_host_uuid(uuid);
    kernel_log(&call, error);
    kernel_unlock();
    return answer(error);
}

EXPORT int getifaddrs(struct ifaddrs **list)
{
    struct call call = {"getifaddrs", NULL, NULL, 0};

    if (kernel == NULL)
        return answer(ENOSYS);
    kernel_lock();
    int error = kernel_fault(&call);
    if (error == 0)
        error = system_interfaces(list);
    kernel_log(&call, error);
    kernel_unlock();
    return answer(error);
}

EXPORT void freeifaddrs(struct ifaddrs *list)
{
    free(list);
}

EXPORT struct if_nameindex *if_nameindex(void)
{
    if (kernel == NULL) {
        errno = ENOSYS;
        return NULL;
    }
    kernel_lock();
    struct if_nameindex *list = system_name_index();
    kernel_unlock();
    return list;
}

EXPORT unsigned int if_nametoindex(const char *name)
{
    const struct interface *interface = NULL;
    unsigned int index = 0;

    if (kernel != NULL) {
        kernel_lock();
        interface = interface_by_name(name);
        index = interface == NULL ? 0 : (unsigned int)interface->index;
        kernel_unlock();
    }
    if (interface == NULL)
        errno = ENXIO;
    return index;
}

EXPORT void if_freenameindex(struct if_nameindex *list)
{
    free(list);
}
