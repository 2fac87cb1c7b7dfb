/*
 * What Apple's networking code expects of the rest of its kernel, done by the C library and POSIX
 * threads.  Every name of the kernel gets the prefix xnu_ when it is linked, so that a kernel and a
 * C library can live in one process.  Functions that need do nothing are not here: build.py makes a
 * stub that returns 0 for each (the locks, for one: a giant lock covers everything).
 *
 * One thread at a time runs, the one that has the giant lock.  It changes only where a thread
 * sleeps, so what happens is the same each time.  A call of the test's ends when every thread of
 * the kernel sleeps, unless the kernel is frozen: then none of them gets to run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DARWIN_EPERM 1
#define DARWIN_EFAULT 14
#define DARWIN_EINVAL 22
#define DARWIN_EWOULDBLOCK 35
#define SECOND 1000000000ull
#define TICK (SECOND / 100)

/* ---- threads ---- */

struct thread {
    char uthread[8192]; /* the part of a thread that the kernel's code looks into */
    struct thread *next;
    enum { RUNS, DOZES, SLEEPS } state; /* it dozes from assert_wait to thread_block */
    const void *event;
    uint64_t deadline; /* 0: none */
    int of_kernel, timed_out;
    pthread_cond_t wakes;
    void (*function)(void *, int);
    void *argument;
    sigjmp_buf base; /* a continuation starts here: it leaves the stack behind */
};

static pthread_mutex_t giant = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t quiet = PTHREAD_COND_INITIALIZER;
static struct thread *threads;
static __thread struct thread *self;
static int running; /* threads of the kernel that do not sleep */
static int frozen;

uint64_t xnu_mach_absolute_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static struct thread *new_thread(void)
{
    struct thread *thread = calloc(1, sizeof *thread);
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&thread->wakes, &attributes);
    thread->next = threads;
    return threads = thread;
}

struct thread *xnu_current_thread(void)
{
    return self != NULL ? self : (self = new_thread());
}

void *xnu_current_uthread(void)
{
    return xnu_current_thread()->uthread;
}

void *xnu_get_bsdthread_info(struct thread *thread)
{
    return thread->uthread;
}

void xnu_host_enter(void)
{
    if (!frozen)
        pthread_mutex_lock(&giant);
    xnu_current_thread();
}

void xnu_host_leave(void)
{
    if (frozen)
        return;
    while (running > 0)
        pthread_cond_wait(&quiet, &giant);
    pthread_mutex_unlock(&giant);
}

void host_freeze(void)
{
    xnu_host_enter();
    frozen = 1;
}

void host_thaw(void)
{
    frozen = 0;
    xnu_host_leave();
}

static void rises(struct thread *thread)
{
    thread->state = RUNS;
    thread->event = NULL;
    running += thread->of_kernel;
}

static void rests(struct thread *thread)
{
    thread->state = SLEEPS;
    running -= thread->of_kernel;
    if (running == 0)
        pthread_cond_signal(&quiet);
}

static int sleep_now(uint64_t deadline)
{
    struct thread *thread = xnu_current_thread();
    struct timespec until = {(time_t)(deadline / SECOND), (long)(deadline % SECOND)};

    thread->timed_out = 0;
    if (thread->state == DOZES)
        rests(thread);
    while (thread->state == SLEEPS) {
        if (deadline == 0) {
            pthread_cond_wait(&thread->wakes, &giant);
        } else if (pthread_cond_timedwait(&thread->wakes, &giant, &until) == ETIMEDOUT &&
                   thread->state == SLEEPS) {
            thread->timed_out = 1;
            rises(thread);
        }
    }
    return thread->timed_out;
}

int xnu_assert_wait_deadline(const void *event, int how, uint64_t deadline)
{
    struct thread *thread = xnu_current_thread();

    thread->state = DOZES;
    thread->event = event;
    thread->deadline = deadline;
    return 0;
}

int xnu_assert_wait(const void *event, int how)
{
    return xnu_assert_wait_deadline(event, how, 0);
}

int xnu_thread_block(void (*continuation)(void *, int))
{
    struct thread *thread = xnu_current_thread();
    int timed_out = sleep_now(thread->deadline);

    if (continuation == NULL)
        return timed_out;
    thread->function = continuation;
    siglongjmp(thread->base, 1);
}

int xnu_thread_block_parameter(void (*continuation)(void *, int), void *argument)
{
    xnu_current_thread()->argument = argument;
    return xnu_thread_block(continuation);
}

static int sleep_on(const void *event, uint64_t deadline)
{
    xnu_assert_wait(event, 0);
    return sleep_now(deadline) ? DARWIN_EWOULDBLOCK : 0;
}

int xnu_msleep(const void *event, void *lock, int priority, const char *why, struct timespec *time)
{
    uint64_t left = time == NULL ? 0 : (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;

    return sleep_on(event, left == 0 ? 0 : xnu_mach_absolute_time() + left);
}

int xnu_msleep1(const void *event, void *lock, int priority, const char *why, uint64_t deadline)
{
    return sleep_on(event, deadline);
}

int xnu_tsleep(const void *event, int priority, const char *why, int ticks)
{
    return sleep_on(event, ticks == 0 ? 0 : xnu_mach_absolute_time() + (uint64_t)ticks * TICK);
}

int xnu_msleep0(const void *event, void *lock, int priority, const char *why, int ticks,
                int (*continuation)(int))
{
    struct thread *thread = xnu_current_thread();
    long error = xnu_tsleep(event, priority, why, ticks);

    if (continuation == NULL)
        return (int)error;
    thread->function = (void (*)(void *, int))(void *)continuation;
    thread->argument = (void *)error;
    siglongjmp(thread->base, 1);
}

static void wake(const void *event, int only_one)
{
    for (struct thread *thread = threads; thread != NULL; thread = thread->next) {
        if (thread->event != event)
            continue;
        if (thread->state == SLEEPS)
            rises(thread);
        thread->state = RUNS;
        thread->event = NULL;
        pthread_cond_signal(&thread->wakes);
        if (only_one)
            return;
    }
}

int xnu_wakeup(const void *event)
{
    wake(event, 0);
    return 0;
}

int xnu_wakeup_one(const void *event)
{
    wake(event, 1);
    return 0;
}

int xnu_thread_wakeup_prim(const void *event, int one, int result)
{
    return xnu_wakeup(event);
}

int xnu_thread_wakeup_thread(const void *event, void *thread)
{
    return xnu_wakeup(event);
}

int xnu_thread_terminate(struct thread *thread)
{
    if (thread == self) {
        thread->state = DOZES;
        rests(thread);
        pthread_mutex_unlock(&giant);
        pthread_exit(NULL);
    }
    return 0;
}

static void *run_thread(void *of)
{
    struct thread *thread = self = of;

    pthread_mutex_lock(&giant);
    if (sigsetjmp(thread->base, 0) == 0)
        thread->timed_out = 0;
    thread->function(thread->argument, thread->timed_out);
    xnu_thread_terminate(thread);
    return NULL;
}

int xnu_kernel_thread_start(void (*function)(void *, int), void *argument, struct thread **started)
{
    struct thread *thread = new_thread();
    pthread_t of;

    thread->function = function;
    thread->argument = argument;
    thread->of_kernel = 1;
    running++;
    *started = thread;
    pthread_create(&of, NULL, run_thread, thread);
    pthread_detach(of);
    return 0;
}

/* ---- calls for later ---- */

struct call {
    void (*function)(void *, void *);
    void *first, *second;
    uint64_t due; /* 0: not at all */
    struct call *next;
};

static struct call *calls;

static void run_calls(void *none, int result)
{
    for (;;) {
        uint64_t now = xnu_mach_absolute_time(), next = UINT64_MAX;
        struct call *due = NULL;

        for (struct call *call = calls; call != NULL; call = call->next) {
            if (call->due != 0 && call->due < next) {
                next = call->due;
                due = call;
            }
        }
        if (due != NULL && due->due <= now) {
            due->due = 0;
            due->function(due->first, due->second);
        } else {
            xnu_assert_wait(&calls, 0);
            sleep_now(due == NULL ? 0 : next);
        }
    }
}

struct call *xnu_thread_call_allocate(void (*function)(void *, void *), void *argument)
{
    struct call *call = calloc(1, sizeof *call);
    struct thread *thread;

    if (calls == NULL)
        xnu_kernel_thread_start(run_calls, NULL, &thread);
    call->function = function;
    call->first = argument;
    call->next = calls;
    return calls = call;
}

struct call *xnu_thread_call_allocate_with_options(void (*function)(void *, void *), void *argument,
                                                   int priority, int options)
{
    return xnu_thread_call_allocate(function, argument);
}

struct call *xnu_thread_call_allocate_with_priority(void (*function)(void *, void *),
                                                    void *argument, int priority)
{
    return xnu_thread_call_allocate(function, argument);
}

int xnu_thread_call_enter_delayed(struct call *call, uint64_t due)
{
    int was_due = call->due != 0;

    call->due = due;
    wake(&calls, 0);
    return was_due;
}

int xnu_thread_call_enter(struct call *call)
{
    return xnu_thread_call_enter_delayed(call, 1);
}

int xnu_thread_call_enter1_delayed(struct call *call, void *second, uint64_t due)
{
    call->second = second;
    return xnu_thread_call_enter_delayed(call, due);
}

int xnu_thread_call_enter_delayed_with_leeway(struct call *call, void *second, uint64_t due,
                                              uint64_t leeway, unsigned flags)
{
    return xnu_thread_call_enter1_delayed(call, second, due);
}

int xnu_thread_call_cancel(struct call *call)
{
    int was_due = call->due != 0;

    call->due = 0;
    return was_due;
}

int xnu_thread_call_cancel_wait(struct call *call)
{
    return xnu_thread_call_cancel(call);
}

int xnu_thread_call_free(struct call *call)
{
    xnu_thread_call_cancel(call);
    return 1;
}

int xnu_thread_call_isactive(struct call *call)
{
    return call->due != 0;
}

/* ---- time ---- */

int xnu_hz = 100, xnu_tick = 10000;

static void tell_time(clockid_t clock, int64_t *timeval)
{
    struct timespec now;

    clock_gettime(clock, &now);
    timeval[0] = now.tv_sec;
    *(int *)&timeval[1] = (int)(now.tv_nsec / 1000);
}

void xnu_microtime(int64_t *timeval)
{
    tell_time(CLOCK_REALTIME, timeval);
}

void xnu_microuptime(int64_t *timeval)
{
    tell_time(CLOCK_MONOTONIC, timeval);
}

void xnu_nanouptime(struct timespec *time)
{
    clock_gettime(CLOCK_MONOTONIC, time);
}

void xnu_clock_interval_to_deadline(uint32_t interval, uint32_t unit, uint64_t *deadline)
{
    *deadline = xnu_mach_absolute_time() + (uint64_t)interval * unit;
}

void xnu_clock_interval_to_absolutetime_interval(uint32_t interval, uint32_t unit, uint64_t *time)
{
    *time = (uint64_t)interval * unit;
}

void xnu_nanoseconds_to_absolutetime(uint64_t nanoseconds, uint64_t *time)
{
    *time = nanoseconds;
}

void xnu_clock_absolutetime_interval_to_deadline(uint64_t interval, uint64_t *deadline)
{
    *deadline = xnu_mach_absolute_time() + interval;
}

void xnu_clock_deadline_for_periodic_event(uint64_t interval, uint64_t now, uint64_t *deadline)
{
    *deadline = now + interval;
}

void xnu_clock_timebase_info(uint32_t *ratio)
{
    ratio[0] = ratio[1] = 1;
}

int xnu_tvtohz(const int64_t *timeval)
{
    return (int)(timeval[0] * xnu_hz) + (*(const int *)&timeval[1] + xnu_tick - 1) / xnu_tick + 1;
}

/* ---- memory: all of it cleared, large powers of two aligned as the kernel's clusters are ---- */

void *xnu_host_allocate(unsigned long size)
{
    int aligned = size >= 2048 && (size & (size - 1)) == 0;
    void *memory;

    if (posix_memalign(&memory, aligned ? size : 64, size > 0 ? size : 1) != 0)
        abort();
    return memset(memory, 0, size);
}

void xnu_host_free(void *memory)
{
    free(memory);
}

void *xnu_host_reallocate(void *old, unsigned long old_size, unsigned long size)
{
    void *memory = size > 0 ? xnu_host_allocate(size) : NULL;

    if (old != NULL && memory != NULL)
        memcpy(memory, old, old_size < size ? old_size : size);
    free(old);
    return memory;
}

/* A pool that is cleared as it is touched. */
void *xnu_host_pool(unsigned long size)
{
    return aligned_alloc(1 << 20, size);
}

void xnu_zfree_nozero(int zone, void *memory)
{
    free(memory);
}

void *xnu_zalloc_permanent_tag(unsigned long size, unsigned long alignment, uint32_t tag)
{
    return xnu_host_allocate(size);
}

void *xnu___MALLOC(unsigned long size, int type, int flags, void *site)
{
    return xnu_host_allocate(size);
}

void *xnu___MALLOC_ZONE(unsigned long size, int type, int flags, void *site)
{
    return xnu_host_allocate(size);
}

void *xnu___REALLOC(void *old, unsigned long size, int type, int flags, void *site)
{
    return xnu_host_reallocate(old, size, size);
}

void xnu__FREE(void *memory, int type)
{
    free(memory);
}

void xnu__FREE_ZONE(void *memory, unsigned long size, int type)
{
    free(memory);
}

void *xnu_kalloc_canblock(unsigned long *size, int block, void *site)
{
    return xnu_host_allocate(*size);
}

void xnu_kfree(void *memory, unsigned long size)
{
    free(memory);
}

static void *some_memory(void)
{
    return xnu_host_allocate(256);
}

void *xnu_lck_grp_alloc_init(void) { return some_memory(); }
void *xnu_lck_mtx_alloc_init(void) { return some_memory(); }
void *xnu_lck_rw_alloc_init(void) { return some_memory(); }
void *xnu_lck_attr_alloc_init(void) { return some_memory(); }
void *xnu_lck_grp_attr_alloc_init(void) { return some_memory(); }

/* The memory of users is ours. */
int xnu_copyin(uint64_t user, void *kernel, size_t size)
{
    if (user < 65536 && size > 0)
        return DARWIN_EFAULT;
    memcpy(kernel, (void *)user, size);
    return 0;
}

int xnu_copyout(const void *kernel, uint64_t user, size_t size)
{
    return xnu_copyin((uint64_t)(uintptr_t)kernel, (void *)user, size);
}

const int xnu_copysize_limit_panic = 64 << 20;

/* ---- strings and numbers: what the C library has under the same name, build.py passes on ---- */

size_t xnu_strlcpy(char *to, const char *from, size_t size)
{
    size_t length = strlen(from), copied = length < size ? length : size - 1;

    if (size > 0) {
        memcpy(to, from, copied);
        to[copied] = '\0';
    }
    return length;
}

size_t xnu__strlcpy(char *to, const char *from, size_t size)
{
    return xnu_strlcpy(to, from, size);
}

int xnu__strlcmp(const char *one, const char *other, size_t size)
{
    return strncmp(one, other, size);
}

char *xnu__strbufcpy(char *to, size_t size, const char *from, size_t from_size)
{
    size_t length = strnlen(from, from_size), copied = length < size ? length : size - 1;

    memcpy(to, from, copied);
    to[copied] = '\0';
    return to;
}

int xnu__strbufcmp(const char *one, size_t size, const char *other, size_t other_size)
{
    size_t length = strnlen(one, size);

    if (length != strnlen(other, other_size))
        return 1;
    return memcmp(one, other, length);
}

int xnu_scnprintf(char *to, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(to, size, format, arguments);
    va_end(arguments);
    return length < (int)size ? length : (int)size - 1;
}

char *xnu_tsnprintf(char *to, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(to, size, format, arguments);
    va_end(arguments);
    return to;
}

void xnu_panic(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "PANIC: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

int xnu_fls(unsigned value)
{
    return value == 0 ? 0 : 32 - __builtin_clz(value);
}

static void fill(void *buffer, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        ((char *)buffer)[i] = (char)random();
}

uint32_t xnu_RandomULong(void)
{
    return (uint32_t)random();
}

void xnu_read_random(void *buffer, unsigned size)
{
    fill(buffer, size);
}

void xnu_read_frandom(void *buffer, unsigned size)
{
    fill(buffer, size);
}

void xnu_uuid_generate(unsigned char *uuid)
{
    fill(uuid, 16);
}

int xnu_uuid_is_null(const unsigned char *uuid)
{
    return memcmp(uuid, (unsigned char[16]){0}, 16) == 0;
}

int xnu_uuid_compare(const unsigned char *one, const unsigned char *other)
{
    return memcmp(one, other, 16);
}

void xnu_uuid_clear(unsigned char *uuid)
{
    memset(uuid, 0, 16);
}

void xnu_uuid_copy(unsigned char *to, const unsigned char *from)
{
    memcpy(to, from, 16);
}

/* ---- counting: with one thread at a time, as plain as this ---- */

int xnu_OSAddAtomic(int amount, int *value)
{
    return (*value += amount) - amount;
}

short xnu_OSAddAtomic16(int amount, short *value)
{
    return (short)((*value = (short)(*value + amount)) - amount);
}

long xnu_OSAddAtomicLong(long amount, long *value)
{
    return (*value += amount) - amount;
}

int64_t xnu_OSAddAtomic64(int64_t amount, int64_t *value)
{
    return (*value += amount) - amount;
}

int xnu_OSIncrementAtomic(int *value)
{
    return (*value)++;
}

int xnu_OSDecrementAtomic(int *value)
{
    return (*value)--;
}

unsigned xnu_OSBitOrAtomic(unsigned mask, unsigned *value)
{
    return __sync_fetch_and_or(value, mask);
}

unsigned short xnu_OSBitOrAtomic16(unsigned mask, unsigned short *value)
{
    return __sync_fetch_and_or(value, (unsigned short)mask);
}

unsigned xnu_OSBitAndAtomic(unsigned mask, unsigned *value)
{
    return __sync_fetch_and_and(value, mask);
}

int xnu_OSCompareAndSwap(unsigned old, unsigned new, unsigned *value)
{
    return __sync_bool_compare_and_swap(value, old, new);
}

int xnu_OSCompareAndSwap16(unsigned short old, unsigned short new, unsigned short *value)
{
    return __sync_bool_compare_and_swap(value, old, new);
}

int xnu_OSCompareAndSwap64(uint64_t old, uint64_t new, uint64_t *value)
{
    return __sync_bool_compare_and_swap(value, old, new);
}

int xnu_OSCompareAndSwapPtr(void *old, void *new, void **value)
{
    return __sync_bool_compare_and_swap(value, old, new);
}

void xnu_os_ref_init_count_internal(int *count, void *group, uint32_t value)
{
    *count = (int)value;
}

void xnu_os_ref_retain_internal(int *count, void *group)
{
    ++*count;
}

uint32_t xnu_os_ref_release_relaxed_internal(int *count, void *group)
{
    return (uint32_t)--*count;
}

uint32_t xnu_os_ref_release_barrier_internal(int *count, void *group)
{
    return (uint32_t)--*count;
}

uint32_t xnu_os_ref_release_locked_internal(int *count, void *group)
{
    return (uint32_t)--*count;
}

/* ---- the machine, and who asks ---- */

static char the_process[65536], the_credential[4096];
static int is_root = 1;
void *xnu_kernproc = the_process;
int xnu_nmbclusters = 65536;
unsigned long xnu_gPEClockFrequencyInfo[64] = {[0 ... 63] = SECOND};

void host_set_root(int root)
{
    is_root = root;
}

void *xnu_current_proc(void) { return the_process; }
void *xnu_kauth_cred_get(void) { return the_credential; }
void *xnu_kauth_cred_proc_ref(void *process) { return the_credential; }
void *xnu_current_cached_proc_cred(void *process) { return the_credential; }
int xnu_proc_pid(void *process) { return 100; }
int xnu_proc_selfpid(void) { return 100; }
int xnu_suser(void *credential, void *flags) { return is_root ? 0 : DARWIN_EPERM; }
int xnu_proc_suser(void *process) { return is_root ? 0 : DARWIN_EPERM; }
int xnu_priv_check_cred(void *credential, int privilege, int flags) { return xnu_suser(0, 0); }
int xnu_kauth_cred_issuser(void *credential) { return is_root; }
int xnu_proc_is64bit(void *process) { return 1; }
int xnu_IS_64BIT_PROCESS(void *process) { return 1; }
unsigned xnu_ml_wait_max_cpus(void) { return 2; }
unsigned xnu_ml_get_max_cpus(void) { return 2; }
int xnu_lck_mtx_try_lock(void *lock) { return 1; }
int xnu_lck_mtx_try_lock_spin(void *lock) { return 1; }
int xnu_lck_rw_lock_shared_to_exclusive(void *lock) { return 1; }
