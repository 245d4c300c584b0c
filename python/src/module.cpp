// moebox._native: what the package's Python is a typed face of. No promises to programs of others.
#include <string>

#include <nanobind/stl/string.h>

#include "bindings.h"
#include "cli/version.h"
#include "errors.h"

NB_MODULE(_native, module) {
  module.doc() = "The libraries of moebox. Programs use moebox.Engine, moebox.Tokenizer and moebox.data instead.";
  // A program may end while an engine lives.
  nanobind::set_leak_warnings(false);
  moebox::python::translate_errors();
  module.def("version", [] { return std::string(moebox::cli::version_number()); });
  moebox::python::bind_engine(module);
  moebox::python::bind_tokenizer(module);
  moebox::python::bind_data(module);
}
