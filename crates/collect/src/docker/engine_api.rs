//! The engine as `docker_sd_configs` ask it: any path of any host, unix sockets only.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::Client;
use crate::scrape::DockerApi;

/// Answers the requests of Docker service discovery. Hosts other than `unix://` sockets are refused by [`Client::new`].
pub fn engine_api() -> DockerApi {
    Arc::new(|host: String, path: String| {
        async move {
            let client = Client::new(&host)?;
            client.ping().await?;
            Ok(client.get(&path).await?)
        }
        .boxed()
    })
}
