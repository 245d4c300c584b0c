// What is wrong with a JSON text, for people. Not a parser: nlohmann's says it, in its own words.
#pragma once

#include <string>
#include <string_view>

namespace moebox {

/// The reason out of the text of a nlohmann::json::exception, without the library's names for its exceptions and its
/// grammar: "it ends too early (line 3, column 9)". What cannot be taken apart is given as it is.
std::string json_problem(std::string_view exception_text);

}  // namespace moebox
