/*
 * The shared state: mapping and locking, the rules that make calls fail, counters and logs, and
 * the careful copying between the program's memory and the kernel's.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC (UINT64_C(0x66657468) << 32 | sizeof(struct kernel))

struct kernel *kernel;

static struct kernel *map_file(int descriptor)
{
    void *memory =
        mmap(NULL, sizeof(struct kernel), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    return memory == MAP_FAILED ? NULL : memory;
}

struct kernel *state_map(const char *path)
{
    int descriptor = linux_open(path, O_RDWR | O_CLOEXEC, 0);
    struct stat status;

    if (descriptor < 0)
        return NULL;
    if (fstat(descriptor, &status) != 0 || (size_t)status.st_size != sizeof(struct kernel)) {
        close(descriptor);
        errno = EINVAL;
        return NULL;
    }
    struct kernel *mapped = map_file(descriptor);
    if (mapped != NULL && mapped->magic != MAGIC) {
        munmap(mapped, sizeof *mapped);
        errno = EINVAL;
        return NULL;
    }
    return mapped;
}

/* A robust lock: a process that is killed while it holds it must not stop all the others. */
static void make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

struct kernel *state_create(const char *path)
{
    int descriptor = linux_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (descriptor < 0)
        return NULL;
    /* Whatever the umask: the pump maps it as an ordinary user. */
    if (fchmod(descriptor, 0666) != 0 || ftruncate(descriptor, sizeof(struct kernel)) != 0) {
        close(descriptor);
        return NULL;
    }
    struct kernel *mapped = map_file(descriptor);
    if (mapped == NULL)
        return NULL;
    make_lock(&mapped->lock);
    mapped->max_mtu = DARWIN_net_link_fake_max_mtu_default;
    mapped->next_id = 1;
    mapped->bpf_nodes = 4;
    mapped->magic = MAGIC;
    return mapped;
}

void kernel_lock(void)
{
    if (pthread_mutex_lock(&kernel->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&kernel->lock);
}

void kernel_unlock(void)
{
    pthread_mutex_unlock(&kernel->lock);
}

bool is_root(void)
{
    return geteuid() == 0;
}

uint64_t current_namespace(void)
{
    struct stat status;
    return stat("/proc/thread-self/ns/net", &status) == 0 ? status.st_ino : 0;
}

bool kernel_release_from(int major, int minor)
{
    return kernel->major > major || (kernel->major == major && kernel->minor >= minor);
}

int64_t kernel_deviation(enum deviation deviation)
{
    return kernel->deviations[deviation];
}

void kernel_count(enum counter counter, uint64_t amount)
{
    kernel->counters[counter] += amount;
}

static bool names(const char *pattern, const char *text)
{
    return text != NULL && strcmp(pattern, text) == 0;
}

static bool rule_names_call(const struct rule *rule, const struct call *call)
{
    bool write = names("bpf_write", call->name) || names("ndrv_write", call->name);

    if (!names(rule->call, call->name) && !(write && names("write", rule->call)))
        return false;
    return rule->object[0] == '\0' || names(rule->object, call->device) ||
           names(rule->object, call->interface);
}

int kernel_fault(const struct call *call)
{
    for (struct rule *rule = kernel->rules; rule < kernel->rules + MAX_RULES; rule++) {
        if (!rule->active || rule->instead_of != 0 || rule->times == 0 ||
            !rule_names_call(rule, call))
            continue;
        if (rule->skip > 0) {
            rule->skip--;
            continue;
        }
        if (rule->times > 0)
            rule->times--;
        rule->hits++;
        return rule->error;
    }
    return 0;
}

int kernel_misanswer(const struct call *call, int error)
{
    for (struct rule *rule = kernel->rules; error != 0 && rule < kernel->rules + MAX_RULES;
         rule++) {
        if (rule->active && rule->instead_of == error && rule_names_call(rule, call)) {
            rule->hits++;
            return rule->error;
        }
    }
    return error;
}

static void copy_name(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from == NULL ? "" : from);
}

void kernel_log(const struct call *call, int error)
{
    struct call_record *record = &kernel->calls[kernel->call_count++ % MAX_CALLS];

    *record = (struct call_record){
        .process = getpid(),
        .user = (int32_t)geteuid(),
        .error = error,
        .value = call->value,
    };
    copy_name(record->name, sizeof record->name, call->name);
    copy_name(record->device, sizeof record->device, call->device);
    copy_name(record->interface, sizeof record->interface, call->interface);
}

void kernel_violation(const char *format, ...)
{
    va_list arguments;
    char *text = kernel->violations[kernel->violation_count++ % MAX_VIOLATIONS];

    va_start(arguments, format);
    vsnprintf(text, sizeof kernel->violations[0], format, arguments);
    va_end(arguments);
}

/*
 * A kernel answers EFAULT to a bad pointer, and so must we: let Linux do the copying.  Where a
 * sandbox forbids this call a plain copy must do.
 */
static int copy_in_process(void *to, const void *from, size_t length, bool in)
{
    struct iovec mine = {in ? to : (void *)(uintptr_t)from, length};
    struct iovec theirs = {in ? (void *)(uintptr_t)from : to, length};
    ssize_t done = in ? process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0)
                      : process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0);

    if (done < 0 && (errno == EPERM || errno == ENOSYS)) {
        memcpy(to, from, length);
        return 0;
    }
    return done == (ssize_t)length ? 0 : EFAULT;
}

int copy_in(void *to, const void *from, size_t length)
{
    return copy_in_process(to, from, length, true);
}

int copy_out(void *to, const void *from, size_t length)
{
    return copy_in_process(to, from, length, false);
}
