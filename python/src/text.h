// Text between the two languages. Python's side is never refused for its bytes: what is no UTF-8 becomes U+FFFD.
#pragma once

#include <string_view>

#include <nanobind/nanobind.h>

namespace moebox::python {

inline nanobind::str text(std::string_view utf8) {
  PyObject* object = PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "replace");
  if (object == nullptr) throw nanobind::python_error();
  return nanobind::steal<nanobind::str>(object);
}

/// Valid as long as the object.
inline std::string_view view(const nanobind::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

}  // namespace moebox::python
