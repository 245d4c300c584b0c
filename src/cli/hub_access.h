// From what a person wrote as MODEL to its files, by the settings.
#pragma once

#include <filesystem>
#include <string>

#include "cli/context.h"
#include "hub/hub.h"

namespace moebox::cli {

/// The hub as the settings say. It tells of retries on the context's console, which must live as long.
Hub make_hub(const Context& context);

/// The model's file or folder; fetches it with a progress bar on stderr when it is not here. Ctrl-C ends that with
/// Error(cancelled); the next time it goes on where it was.
std::filesystem::path fetch(const Context& context, Hub& hub, const std::string& model);

/// What to do about a model that is not here: a path is to be mended, a name can be fetched.
std::string not_here_hint(const std::string& model);

}  // namespace moebox::cli
