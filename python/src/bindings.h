// The parts of the module, one function a file.
#pragma once

#include <nanobind/nanobind.h>

namespace moebox::python {

void bind_engine(nanobind::module_& module);
void bind_tokenizer(nanobind::module_& module);
void bind_data(nanobind::module_& module);

}  // namespace moebox::python
