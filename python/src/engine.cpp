// moebox._native.Engine: a model that answers, and Stream: one answer as it comes.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include "base/error.h"
#include "bindings.h"
#include "chat_input.h"
#include "cli/model_source.h"
#include "cli/profile.h"
#include "language_model/language_model.h"
#include "text.h"
#include "tokenizer_choice.h"
#include "waiting.h"

namespace moebox::python {
namespace {

namespace nb = nanobind;

/// Carries an answer from the engine's thread to the one that waits for it.
class Mailbox : public TextListener {
 public:
  void on_piece(const TextPiece& piece) override {
    const std::lock_guard lock(mutex_);
    text_ += piece.text;
    ids_.push_back(piece.token.id);
    news_.notify_all();
  }
  void on_finish(const TextFinish& finish) override {
    const std::lock_guard lock(mutex_);
    text_ += finish.text;
    finish_ = finish;
    news_.notify_all();
  }

  struct News {
    std::string text;
    std::vector<TokenId> ids;
    std::optional<TextFinish> finish;
  };
  /// What came since the last call; waits for it, but not for long.
  News take() {
    std::unique_lock lock(mutex_);
    news_.wait_for(lock, std::chrono::milliseconds(50), [this] { return !ids_.empty() || finish_; });
    News news{std::move(text_), std::move(ids_), std::move(finish_)};
    text_.clear();
    ids_.clear();
    finish_.reset();
    return news;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  std::string text_;
  std::vector<TokenId> ids_;
  std::optional<TextFinish> finish_;
};

class Stream {
 public:
  Stream(std::shared_ptr<LanguageModel> model, TextRequest request, Reasoning begin)
      : model_(std::move(model)), mailbox_(std::make_shared<Mailbox>()), splitter_(begin) {
    id_ = model_->generate(std::move(request), mailbox_);
  }
  ~Stream() { cancel(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Thinking and text that came, both empty only at the end. Waits without the interpreter's lock.
  std::pair<nb::str, nb::str> next() {
    ReasoningSplitter::Parts parts;
    std::optional<Error> failure;
    for (bool waiting = true; waiting;) {
      {
        const nb::gil_scoped_release free;
        const std::lock_guard lock(mutex_);
        waiting = !finish_ && !advance(parts);
        if (finish_) failure = finish_->error;
      }
      if (waiting && PyErr_CheckSignals() != 0) {
        cancel();
        throw nb::python_error();
      }
    }
    if (failure) throw *failure;
    return {text(parts.reasoning), text(parts.answer)};
  }

  void cancel() noexcept { model_->engine().cancel(id_); }
  std::vector<TokenId> ids() {
    const std::lock_guard lock(mutex_);
    return ids_;
  }
  /// None before the end.
  nb::object result() {
    std::optional<TextFinish> finish;
    {
      const std::lock_guard lock(mutex_);
      finish = finish_;
    }
    if (!finish) return nb::none();
    constexpr const char* reasons[] = {"stop", "length", "cancelled", "error"};
    const GenerationStats& stats = finish->stats;
    nb::dict result;
    result["finish_reason"] = reasons[static_cast<std::size_t>(finish->reason)];
    result["matched_stop"] = text(finish->matched_stop);
    result["prompt_tokens"] = stats.prompt_tokens;
    result["cached_tokens"] = stats.cached_tokens;
    result["generated_tokens"] = stats.generated_tokens;
    result["drafted_tokens"] = stats.drafted_tokens;
    result["accepted_tokens"] = stats.accepted_tokens;
    result["first_token_ms"] = stats.first_token_ms;
    result["prefill_ms"] = stats.prefill_ms;
    result["decode_ms"] = stats.decode_ms;
    if (stats.moe.model.n_layers > 0) {
      result["experts_per_token"] = stats.moe.experts_per_token();
      result["active_parameters"] = stats.moe.active_parameters();
      result["dropped_mass"] = stats.moe.dropped_share();
    }
    return result;
  }

 private:
  /// Whether there was anything to show, or the end came.
  bool advance(ReasoningSplitter::Parts& parts) {
    Mailbox::News news = mailbox_->take();
    ids_.insert(ids_.end(), news.ids.begin(), news.ids.end());
    const auto add = [&](const ReasoningSplitter::Parts& more) {
      parts.reasoning += more.reasoning;
      parts.answer += more.answer;
    };
    if (!news.text.empty()) add(splitter_.push(news.text));
    if (news.finish) {
      add(splitter_.finish({}));
      finish_ = std::move(news.finish);
    }
    return !parts.reasoning.empty() || !parts.answer.empty();
  }

  std::shared_ptr<LanguageModel> model_;
  std::shared_ptr<Mailbox> mailbox_;
  RequestId id_ = 0;
  std::mutex mutex_;
  ReasoningSplitter splitter_;
  std::vector<TokenId> ids_;
  std::optional<TextFinish> finish_;
};

class PythonEngine {
 public:
  PythonEngine(const std::string& model, const SettingValues& values, std::string chat_template)
      : process_(::getpid()) {
    cli::Context context = make_context();
    settings_ = context.settings;
    set(settings_, values);
    context.settings = settings_;
    const std::string name = model.empty() ? settings_.text("model") : model;
    const auto second = cli::draft_model(settings_);
    const auto second_path = second ? find_model(context, *second) : std::filesystem::path();
    path_ = find_model(context, name);
    cli::apply_catalogue(settings_, cli::make_hub(context), name);
    (void)cli::apply_profile(settings_, path_, context.console);
    LanguageModelOptions options = cli::model_options(settings_);
    if (second) cli::draft_with(options, second_path);
    options.chat_template = std::move(chat_template);
    model_ = wait_for([&](Watch&) { return LanguageModel::load(path_, options); });
  }
  ~PythonEngine() { close(); }

  void close() {
    const nb::gil_scoped_release free;
    const std::lock_guard lock(mutex_);
    model_.reset();
  }

  nb::dict info() const {
    const auto model = loaded();
    const ModelInfo& of = model->engine().model();
    nb::dict info;
    info["path"] = text(path_.string());
    info["architecture"] = text(of.architecture);
    info["n_parameters"] = of.n_parameters;
    info["vocab_size"] = of.vocab_size;
    info["n_layers"] = of.n_layers;
    info["hidden_size"] = of.hidden_size;
    info["n_experts"] = of.moe.n_experts;
    info["top_k"] = of.moe.top_k;
    info["max_context"] = of.max_context;
    info["context"] = model->engine().options().context_tokens;
    info["threads"] = model->engine().options().n_threads;
    info["weight_bytes"] = of.weight_bytes;
    info["kv_bytes"] = model->engine().kv_bytes();
    info["has_chat_template"] = model->has_chat_template();
    return info;
  }

  data::NamedTokenizer tokenizer() const {
    const auto model = loaded();
    data::NamedTokenizer named{model->tokenizer(), nullptr};
    // The model keeps its template: shared, and alive as long as the model.
    if (model->has_chat_template())
      named.chat_template = std::shared_ptr<const ChatTemplate>(model, &model->chat_template());
    return named;
  }

  std::vector<TokenId> text_ids(const nb::bytes& prompt, bool special) const {
    const auto model = loaded();
    const std::string_view bytes = view(prompt);
    const nb::gil_scoped_release free;
    return model->tokenizer()->encode(bytes, true, special);
  }

  std::vector<TokenId> chat_ids(const std::string& messages, const std::string& options) const {
    const auto model = loaded();
    const nb::gil_scoped_release free;
    return model->encode_chat(chat_messages(messages), chat_options(options));
  }

  std::unique_ptr<Stream> stream(std::vector<TokenId> prompt, bool chat, const SettingValues& values,
                                 const std::vector<std::string>& stop, bool ignore_end) const {
    auto model = loaded();
    cli::Settings settings = settings_;
    set(settings, values);
    const Reasoning begin = chat ? model->reasoning(prompt) : Reasoning::none;
    TextRequest request = cli::text_request(settings, model->engine().model(), std::move(prompt), stop);
    request.ignore_end = ignore_end;
    return std::make_unique<Stream>(std::move(model), std::move(request), begin);
  }

 private:
  /// Throws Error for an engine that is closed, or that a fork() has left without its threads.
  std::shared_ptr<LanguageModel> loaded() const {
    if (::getpid() != process_)
      throw Error(ErrorKind::invalid_argument, "the engine belongs to the process that made it", path_.string(),
                  "make an engine in each process; multiprocessing's start method \"spawn\" begins without one");
    const std::lock_guard lock(mutex_);
    if (!model_) throw Error(ErrorKind::invalid_argument, "the engine is closed", path_.string(), "make a new one");
    return model_;
  }

  const pid_t process_;
  std::filesystem::path path_;
  cli::Settings settings_;
  mutable std::mutex mutex_;
  std::shared_ptr<LanguageModel> model_;
};

}  // namespace

void bind_engine(nb::module_& module) {
  nb::class_<Stream>(module, "Stream")
      .def("next", &Stream::next)
      .def("cancel", &Stream::cancel)
      .def("ids", &Stream::ids)
      .def("result", &Stream::result, nb::sig("def result(self) -> dict[str, typing.Any] | None"));
  nb::class_<PythonEngine>(module, "Engine")
      .def(nb::init<const std::string&, const SettingValues&, std::string>(), nb::arg("model"), nb::arg("settings"),
           nb::arg("chat_template"))
      .def("close", &PythonEngine::close)
      .def("info", &PythonEngine::info, nb::sig("def info(self) -> dict[str, typing.Any]"))
      .def("tokenizer", &PythonEngine::tokenizer)
      .def("text_ids", &PythonEngine::text_ids, nb::arg("prompt"), nb::arg("special"))
      .def("chat_ids", &PythonEngine::chat_ids, nb::arg("messages"), nb::arg("options"))
      .def("stream", &PythonEngine::stream, nb::arg("prompt"), nb::arg("chat"), nb::arg("settings"), nb::arg("stop"),
           nb::arg("ignore_end"));
}

}  // namespace moebox::python
