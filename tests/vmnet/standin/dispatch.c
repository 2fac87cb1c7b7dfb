/* Serial queues. Each piece of work gets a thread of its own, one after the other. */
#define _GNU_SOURCE
#include "standin.h"

#include <Block.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

struct work {
    struct work *next;
    void (^block)(void);
    void (*function)(void *);
    void *context;
    sem_t *done;
};

struct queue {
    pthread_mutex_t lock;
    struct work *first, *last;
    bool running;
    int references;
};

static __thread bool worker;

bool on_worker(void)
{
    return worker;
}

dispatch_queue_t dispatch_queue_create(const char *label, void *attributes)
{
    struct queue *queue = calloc(1, sizeof *queue);

    check_not_forked(__func__);
    if (label == NULL || attributes != NULL)
        violation("a queue that is not serial, or has no name");
    pthread_mutex_init(&queue->lock, NULL);
    queue->references = 1;
    return queue;
}

dispatch_queue_t queue_retain(dispatch_queue_t queue)
{
    __atomic_add_fetch(&queue->references, 1, __ATOMIC_SEQ_CST);
    return queue;
}

void dispatch_release(dispatch_queue_t queue)
{
    int left = __atomic_sub_fetch(&queue->references, 1, __ATOMIC_SEQ_CST);

    if (left < 0) {
        violation("a queue was released once too often");
        abort();
    }
    if (left == 0) {
        pthread_mutex_destroy(&queue->lock);
        free(queue);
    }
}

static void spawn(struct queue *queue);

static void perform(struct work *work)
{
    if (work->block != NULL) {
        work->block();
        Block_release(work->block);
    } else {
        work->function(work->context);
    }
    if (work->done != NULL)
        sem_post(work->done);
    free(work);
}

static void *run(void *argument)
{
    struct queue *queue = argument;

    worker = true;
    pthread_mutex_lock(&queue->lock);
    struct work *work = queue->first;
    queue->first = work->next;
    pthread_mutex_unlock(&queue->lock);
    perform(work);
    pthread_mutex_lock(&queue->lock);
    queue->running = queue->first != NULL;
    if (queue->running)
        spawn(queue);
    pthread_mutex_unlock(&queue->lock);
    dispatch_release(queue);
    return NULL;
}

/* With the lock held. */
static void spawn(struct queue *queue)
{
    pthread_attr_t attributes;
    pthread_t thread;

    queue_retain(queue);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 512 * 1024); /* as on Darwin */
    if (pthread_create(&thread, &attributes, run, queue) != 0)
        abort();
    pthread_attr_destroy(&attributes);
}

static void enqueue(struct queue *queue, struct work work)
{
    struct work *copy = malloc(sizeof *copy);

    *copy = work;
    pthread_mutex_lock(&queue->lock);
    if (queue->first == NULL)
        queue->first = copy;
    else
        queue->last->next = copy;
    queue->last = copy;
    if (!queue->running) {
        queue->running = true;
        spawn(queue);
    }
    pthread_mutex_unlock(&queue->lock);
}

void run_later(dispatch_queue_t queue, void (^block)(void))
{
    enqueue(queue, (struct work){.block = Block_copy(block)});
}

void dispatch_sync_f(dispatch_queue_t queue, void *context, void (*function)(void *))
{
    sem_t done;

    check_not_forked(__func__);
    if (on_worker())
        violation("dispatch_sync_f from a callback");
    sem_init(&done, 0, 0);
    enqueue(queue, (struct work){.function = function, .context = context, .done = &done});
    while (sem_wait(&done) != 0)
        continue;
    sem_destroy(&done);
}
