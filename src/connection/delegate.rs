//! What a stream around another one only passes on.

/// Has a stream tell what its `inner` stream tells: identity, TLS, timing and socket. Names of type parameters come
/// first, each an `IO`.
macro_rules! delegate {
    ([$($parameter:ident)?] $stream:ty) => {
        impl $(<$parameter: pingora::protocols::IO>)? pingora::protocols::UniqueID for $stream {
            fn id(&self) -> pingora::protocols::UniqueIDType {
                self.inner.id()
            }
        }

        impl $(<$parameter: pingora::protocols::IO>)? pingora::protocols::Ssl for $stream {
            fn get_ssl(&self) -> Option<&pingora::protocols::tls::TlsRef> {
                self.inner.get_ssl()
            }

            fn get_ssl_digest(&self) -> Option<std::sync::Arc<pingora::protocols::tls::SslDigest>> {
                self.inner.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<pingora::protocols::ALPN> {
                self.inner.selected_alpn_proto()
            }
        }

        impl $(<$parameter: pingora::protocols::IO>)? pingora::protocols::GetTimingDigest for $stream {
            fn get_timing_digest(&self) -> Vec<Option<pingora::protocols::TimingDigest>> {
                self.inner.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> std::time::Duration {
                self.inner.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> std::time::Duration {
                self.inner.get_write_pending_time()
            }
        }

        impl $(<$parameter: pingora::protocols::IO>)? pingora::protocols::GetSocketDigest for $stream {
            fn get_socket_digest(&self) -> Option<std::sync::Arc<pingora::protocols::SocketDigest>> {
                self.inner.get_socket_digest()
            }

            fn set_socket_digest(&mut self, socket_digest: pingora::protocols::SocketDigest) {
                self.inner.set_socket_digest(socket_digest);
            }
        }
    };
}

pub(crate) use delegate;
