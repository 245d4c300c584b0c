#include "errors.h"

#include <nanobind/nanobind.h>

#include "base/error.h"
#include "text.h"

namespace moebox::python {

void translate_errors() {
  nanobind::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      const nanobind::object type = nanobind::module_::import_("moebox.errors").attr("Error");
      const nanobind::object value = type.attr("_of_native")(text(error.message()), text(error.where()),
                                                             text(error.hint()), text(name(error.kind())));
      PyErr_SetObject(type.ptr(), value.ptr());
    }
  });
}

}  // namespace moebox::python
