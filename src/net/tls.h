// TLS (1.2 and above) over a socket, with OpenSSL: the other side's certificate and name are always verified.
#pragma once

#include <memory>
#include <string>

#include "net/socket.h"

namespace moebox {

/// The trusted authorities: the system's, or what SSL_CERT_FILE and SSL_CERT_DIR name. Shared by connections of any
/// thread.
class TlsContext {
 public:
  /// Throws Error when OpenSSL cannot be set up.
  TlsContext();
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  /// Shakes hands as `host` (a name or an address) expects. Throws NetworkError: not retryable when the certificate or
  /// the name is wrong, with what to do about it.
  std::unique_ptr<ClientConnection> connect(Socket socket, const std::string& host, Deadline deadline, Tick tick,
                                            const std::string& where) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
