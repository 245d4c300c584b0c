// moebox::Error as Python's moebox.Error.
#pragma once

namespace moebox::python {

/// From now on an Error that leaves a bound function is raised as moebox.errors.Error.
void translate_errors();

}  // namespace moebox::python
