/* The C interface of the Rust crate beside this file: chat templates run by minijinja, with limits, and with marks that
 * tell text from outside apart. It knows nothing of tokens. src/chat is its only user. */
#ifndef MOEBOX_BRIDGE_H
#define MOEBOX_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moebox_template moebox_template;

/* UTF-8, not ended by a zero; `data` may be null when `size` is 0. */
typedef struct {
  const char* data;
  size_t size;
} moebox_text;

typedef struct {
  uint64_t time_ms;       /* wall-clock time of one call */
  size_t recursion_depth; /* calls of macros within macros cost 4/5 each, blocks 1/5; 100 at most */
  size_t output_bytes;    /* of the result, and of every value on the way */
  size_t source_bytes;    /* of the template */
  size_t memory_bytes;    /* all that one call may hold */
} moebox_template_limits;

enum {
  MOEBOX_BRIDGE_OK = 0,
  MOEBOX_BRIDGE_SYNTAX = 1, /* the template does not parse, or uses what is not supported */
  MOEBOX_BRIDGE_RAISED = 2, /* the template called raise_exception() */
  MOEBOX_BRIDGE_LIMIT = 3,
  MOEBOX_BRIDGE_FAILED = 4, /* the template failed on these messages */
  MOEBOX_BRIDGE_PANIC = 5,  /* a fault inside, or no thread to run on */
};

typedef struct {
  int32_t status;
  uint32_t line; /* of the template where it failed, 0 when unknown */
  char* text;    /* the rendered text, or the reason of a failure */
  size_t text_size;
  size_t* spans; /* pairs of begin and end: bytes of `text` that came from outside; ordered, apart from each other */
  size_t span_values; /* twice their number */
} moebox_bridge_result;

/* Writes the current date by a strftime format of `format_size` bytes to `out`; returns the bytes written, 0 when they
 * do not fit. */
typedef size_t (*moebox_clock)(const void* user, const char* format, size_t format_size, char* out, size_t out_size);

/* Null when `result->status` is not OK. Free `result` in any case. */
moebox_template* moebox_template_parse(moebox_text source, moebox_template_limits limits, moebox_bridge_result* result);

/* Renders with the variables of two JSON objects; `trusted` wins where both have a name. All strings of `outside`,
 * apart from well-known role names of `messages`, came from outside; `track` asks for their places. Threads may share a
 * template. */
void moebox_template_render(const moebox_template* source, moebox_text trusted, moebox_text outside, bool track,
                            moebox_clock clock, const void* clock_user, moebox_bridge_result* result);

void moebox_template_free(moebox_template* source);
void moebox_bridge_result_free(moebox_bridge_result* result);

#ifdef __cplusplus
}
#endif

#endif
