#include "cli/version.h"

namespace moebox::cli {

std::string_view version_number() { return MOEBOX_VERSION; }

}  // namespace moebox::cli
