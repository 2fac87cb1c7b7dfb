/* The two functions of the C library that a preloaded program does not get from there. */
#define _GNU_SOURCE
#include "standin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static bool is_apples(const char *path)
{
    static const char *const names[] = {
        "/System/Library/Frameworks/vmnet.framework/vmnet",
        "/usr/lib/libSystem.B.dylib",
    };

    for (size_t i = 0; path != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(path, names[i]) == 0)
            return true;
    }
    return false;
}

EXPORT void *dlopen(const char *path, int flags)
{
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    Dl_info info;

    if (is_apples(path) && dladdr((void *)is_apples, &info) != 0)
        path = info.dli_fname;
    return next(path, flags);
}

/* libpthread of Darwin: "BUG IN CLIENT OF LIBPTHREAD: pthread_exit() called from a thread not
 * created by pthread_create()". */
EXPORT void pthread_exit(void *value)
{
    void (*next)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "pthread_exit");

    if (on_worker()) {
        violation("pthread_exit on a thread of dispatch");
        abort();
    }
    next(value);
    abort();
}
