/* What a test gets to know, and what it sets. */
#define _GNU_SOURCE
#include "standin.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool forked;
static int file = -1;

static void in_child(void)
{
    forked = true;
}

/* Now, for later the process may be an ordinary user's. */
__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("VMNET_LOG");

    pthread_atfork(NULL, NULL, in_child);
    if (path != NULL)
        file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
                            0666);
}

static void put(const char *prefix, const char *format, va_list arguments)
{
    char line[512], text[400];

    vsnprintf(text, sizeof text, format, arguments);
    int length = snprintf(line, sizeof line, "%s%s\n", prefix, text);
    if (file < 0 || syscall(SYS_write, file, line, length) < 0)
        syscall(SYS_write, 2, line, length);
}

void note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put("", format, arguments);
    va_end(arguments);
}

void violation(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put("violation: ", format, arguments);
    va_end(arguments);
}

void check_not_forked(const char *function)
{
    if (forked) {
        violation("%s in a forked process that did not call exec", function);
        abort();
    }
}

long setting(const char *name)
{
    const char *value = getenv(name);

    return value == NULL ? 0 : atol(value);
}
