/* Dictionaries and arrays, as much of them as vmnet needs. */
#include "standin.h"

#include <stdlib.h>
#include <string.h>

enum kind { NUMBER, BOOLEAN, TEXT, UUID };

struct entry {
    struct entry *next;
    char *key;
    enum kind kind;
    uint64_t number;
    char *text;
};

/* An array is one whose keys are NULL. */
struct object {
    struct entry *first;
    size_t count;
};

static struct entry *find(xpc_object_t dictionary, const char *key)
{
    struct entry *entry = dictionary->first;

    while (entry != NULL && strcmp(entry->key, key) != 0)
        entry = entry->next;
    return entry;
}

static struct entry *add(xpc_object_t object, const char *key, enum kind kind)
{
    struct entry *entry = calloc(1, sizeof *entry);

    check_not_forked("xpc");
    if (key != NULL && find(object, key) != NULL)
        violation("%s is set twice", key);
    entry->key = key == NULL ? NULL : strdup(key);
    entry->kind = kind;
    struct entry **end = &object->first;
    while (*end != NULL)
        end = &(*end)->next;
    *end = entry;
    object->count++;
    return entry;
}

xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values,
                                   size_t count)
{
    if (keys != NULL || values != NULL || count != 0)
        violation("a dictionary that is made with values");
    return calloc(1, sizeof(struct object));
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value)
{
    add(dictionary, key, NUMBER)->number = value;
}

void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value)
{
    add(dictionary, key, BOOLEAN)->number = value;
}

void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value)
{
    add(dictionary, key, TEXT)->text = strdup(value);
}

void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const uint8_t value[16])
{
    struct entry *entry = add(dictionary, key, UUID);

    entry->text = malloc(16);
    memcpy(entry->text, value, 16);
}

static struct entry *find_kind(xpc_object_t dictionary, const char *key, enum kind kind)
{
    struct entry *entry = find(dictionary, key);

    return entry != NULL && entry->kind == kind ? entry : NULL;
}

bool dictionary_has(xpc_object_t dictionary, const char *key)
{
    return find(dictionary, key) != NULL;
}

int64_t dictionary_count(xpc_object_t dictionary)
{
    return (int64_t)dictionary->count;
}

bool dictionary_bool(xpc_object_t dictionary, const char *key)
{
    struct entry *entry = find_kind(dictionary, key, BOOLEAN);

    return entry != NULL && entry->number != 0;
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key)
{
    struct entry *entry = find_kind(dictionary, key, NUMBER);

    return entry == NULL ? 0 : entry->number;
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key)
{
    struct entry *entry = find_kind(dictionary, key, TEXT);

    return entry == NULL ? NULL : entry->text;
}

const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key)
{
    struct entry *entry = find_kind(dictionary, key, UUID);

    return entry == NULL ? NULL : (const uint8_t *)entry->text;
}

xpc_object_t array_create(const char *const *texts, size_t count)
{
    xpc_object_t array = calloc(1, sizeof *array);

    for (size_t index = 0; index < count; index++)
        add(array, NULL, TEXT)->text = strdup(texts[index]);
    return array;
}

size_t xpc_array_get_count(xpc_object_t array)
{
    return array->count;
}

const char *xpc_array_get_string(xpc_object_t array, size_t index)
{
    struct entry *entry = array->first;

    while (entry != NULL && index-- > 0)
        entry = entry->next;
    return entry == NULL ? NULL : entry->text;
}

void xpc_release(xpc_object_t object)
{
    while (object->first != NULL) {
        struct entry *entry = object->first;
        object->first = entry->next;
        free(entry->key);
        /* What was lent is of no use now, and must not look as if it were. */
        if (entry->kind == TEXT)
            memset(entry->text, '?', strlen(entry->text));
        free(entry->text);
        free(entry);
    }
    free(object);
}
