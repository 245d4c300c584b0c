// Instrumented and emulated programs are ten to fifty times slower: there, tests that try one thing in many ways try it
// in fewer. Nothing that only such a program could show may hang on this.
#pragma once

namespace moebox::test {

#ifdef MOEBOX_SLOW_MACHINE
inline constexpr bool slow_machine = true;
#else
inline constexpr bool slow_machine = false;
#endif

}  // namespace moebox::test
