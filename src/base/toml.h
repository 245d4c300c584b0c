// toml++ (3.3) for files from outside: the only place that includes it.
#pragma once

// Its assertions are no invariants: the text "[=" breaks one, which ends a build with assertions and is undefined
// behaviour in one without. The code behind each of them reports such a text as an error.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>  // IWYU pragma: export
#pragma pop_macro("NDEBUG")
