// moebox._native.Tokenizer: text to ids and back, and a chat template; and the making of a tokenizer.
#include <memory>
#include <utility>
#include <vector>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/error.h"
#include "bindings.h"
#include "chat_input.h"
#include "data/program/tokenizer_making.h"
#include "data/tokenizer_digest.h"
#include "text.h"
#include "tokenizer/named_pre_tokenizer.h"
#include "tokenizer_choice.h"
#include "waiting.h"

namespace moebox::python {
namespace {

namespace nb = nanobind;
using data::NamedTokenizer;

const ChatTemplate& template_of(const NamedTokenizer& named) {
  if (!named.chat_template)
    throw Error(ErrorKind::unsupported, "the tokenizer's files have no chat template", "messages",
                "encode the text as it is");
  return *named.chat_template;
}

std::vector<TokenId> encode(const NamedTokenizer& named, const nb::bytes& text, bool add_special, bool special) {
  const std::string_view bytes = view(text);
  const nb::gil_scoped_release free;
  return named.tokenizer->encode(bytes, add_special, special);
}

nb::bytes decode(const NamedTokenizer& named, const std::vector<TokenId>& ids, bool show_control) {
  const std::string text = named.tokenizer->decode(ids, show_control);
  return nb::bytes(text.data(), text.size());
}

nb::bytes token_bytes(const NamedTokenizer& named, const std::vector<TokenId>& ids, bool show_control) {
  std::string bytes;
  for (const TokenId id : ids) bytes += named.tokenizer->token_bytes(id, show_control);
  return nb::bytes(bytes.data(), bytes.size());
}

nb::str apply_template(const NamedTokenizer& named, const std::string& messages, const std::string& options) {
  std::string prompt;
  {
    const nb::gil_scoped_release free;
    prompt = template_of(named).render(chat_messages(messages), chat_options(options));
  }
  return text(prompt);
}

std::vector<TokenId> chat_ids(const NamedTokenizer& named, const std::string& messages, const std::string& options) {
  const nb::gil_scoped_release free;
  return template_of(named).encode(chat_messages(messages), *named.tokenizer, chat_options(options));
}

nb::dict special(const NamedTokenizer& named) {
  const Tokenizer::Special& ids = named.tokenizer->special();
  nb::dict result;
  const auto set = [&](const char* name, std::optional<TokenId> id) {
    if (id) result[name] = *id;
  };
  set("bos", ids.bos);
  set("eos", ids.eos);
  set("unknown", ids.unknown);
  set("padding", ids.padding);
  set("fim_prefix", ids.fim_prefix);
  set("fim_suffix", ids.fim_suffix);
  set("fim_middle", ids.fim_middle);
  return result;
}

nb::dict train_tokenizer(const std::vector<std::string>& inputs, const std::string& out, std::size_t vocabulary,
                         const std::string& end_token, const std::vector<std::string>& special_tokens,
                         const std::string& chat_template, const std::string& pre_tokenizer,
                         std::uint64_t min_frequency, bool by_line, bool force, int threads,
                         const nb::object& progress) {
  if (vocabulary < 257 || vocabulary > (std::size_t{1} << 20))
    throw Error(ErrorKind::invalid_argument, "expected 257 to 1048576, found " + std::to_string(vocabulary),
                "vocabulary");
  const data::TrainedTokenizer trained = wait_for(
      [&](Watch& watch) {
        data::TokenizerRequest request;
        request.inputs = inputs;
        request.out = out;
        request.pre_tokenizer = pre_tokenizer;
        request.end_token = end_token;
        request.special_tokens = special_tokens;
        request.chat_template = chat_template;
        request.vocabulary = vocabulary;
        request.min_frequency = min_frequency;
        request.by_line = by_line;
        request.force = force;
        request.n_threads = threads;
        request.reading = [&](std::uint64_t done, std::uint64_t total) { return watch.report(done, total); };
        request.merging = [&] { return watch.goes_on(); };
        return data::make_tokenizer(request);
      },
      progress);
  nb::dict result;
  result["n_tokens"] = trained.n_tokens;
  result["n_merges"] = trained.n_merges;
  result["n_words"] = trained.n_words;
  result["n_bytes"] = trained.n_bytes;
  return result;
}

}  // namespace

void bind_tokenizer(nb::module_& module) {
  nb::class_<NamedTokenizer>(module, "Tokenizer")
      .def("encode", &encode, nb::arg("text"), nb::arg("add_special"), nb::arg("special"))
      .def("decode", &decode, nb::arg("ids"), nb::arg("show_control"))
      .def("token_bytes", &token_bytes, nb::arg("ids"), nb::arg("show_control"))
      .def("vocab_size", [](const NamedTokenizer& named) { return named.tokenizer->vocab_size(); })
      .def("token_text", [](const NamedTokenizer& named, TokenId id) { return text(named.tokenizer->token_text(id)); })
      .def("find", [](const NamedTokenizer& named, const std::string& token) { return named.tokenizer->find(token); })
      .def("special", &special, nb::sig("def special(self) -> dict[str, int]"))
      .def("end_of_generation",
           [](const NamedTokenizer& named) { return named.tokenizer->special().end_of_generation; })
      .def("digest", [](const NamedTokenizer& named) { return data::tokenizer_digest(*named.tokenizer); })
      .def("has_chat_template", [](const NamedTokenizer& named) { return named.chat_template != nullptr; })
      .def("apply_template", &apply_template, nb::arg("messages"), nb::arg("options"))
      .def("chat_ids", &chat_ids, nb::arg("messages"), nb::arg("options"));
  module.def("load_tokenizer", &find_tokenizer, nb::arg("name"));
  module.def("pre_tokenizers", [] {
    std::vector<std::string> names;
    for (const std::string_view name : pre_tokenizer_names()) names.emplace_back(name);
    return names;
  });
  module.def(
      "train_tokenizer", &train_tokenizer, nb::arg("inputs"), nb::arg("out"), nb::arg("vocabulary"),
      nb::arg("end_token"), nb::arg("special_tokens"), nb::arg("chat_template"), nb::arg("pre_tokenizer"),
      nb::arg("min_frequency"), nb::arg("by_line"), nb::arg("force"), nb::arg("threads"), nb::arg("progress").none(),
      nb::sig("def train_tokenizer(inputs: Sequence[str], out: str, vocabulary: int, end_token: str, "
              "special_tokens: Sequence[str], chat_template: str, pre_tokenizer: str, min_frequency: int, by_line: "
              "bool, force: bool, threads: int, progress: collections.abc.Callable[[int, int], object] | None) -> "
              "dict[str, int]"));
}

}  // namespace moebox::python
