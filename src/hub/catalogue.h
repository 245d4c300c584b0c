// Catalogues: JSON files that name models and say where they come from. Not the store: nothing here touches models.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub.h"

namespace moebox {

/// The catalogue that is compiled in: catalogue/models.json.
std::string_view builtin_catalogue_json() noexcept;

/// Parses one catalogue: {"format": 1, "models": [{"name", "source", "file", "size_bytes", "sha256", "licence",
/// "memory_bytes", "description", "languages", "moe"}]}; only `name` and `source` are required. `origin` names it in
/// messages; a relative path as a source counts from `folder`. Throws Error(invalid_file) with the line and the field.
std::vector<CatalogueEntry> parse_catalogue(std::string_view json, const std::string& origin,
                                            const std::filesystem::path& folder = {});

/// Reads a catalogue file of at most 4 MiB. Throws Error: not_found, io, invalid_file.
std::vector<CatalogueEntry> read_catalogue(const std::filesystem::path& path);

/// Puts `later` over `entries`: an entry of the same name replaces the earlier one, others are added at the end.
void merge_catalogue(std::vector<CatalogueEntry>& entries, std::vector<CatalogueEntry> later);

/// Two models must not be one file of the store: the one that is pulled first would be taken for the other. Entries of
/// one source, or with one checksum, may. Throws Error(invalid_file) with the two names; `origin` is where they are
/// from.
void check_files(const std::vector<CatalogueEntry>& entries, const std::string& origin);

/// The names (at most three, best first) that look like `name`: by edit distance, or because one contains the other.
std::vector<std::string> nearest_names(const std::vector<CatalogueEntry>& entries, std::string_view name);

/// Levenshtein's distance in bytes.
int edit_distance(std::string_view a, std::string_view b);

}  // namespace moebox
