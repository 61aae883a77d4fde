//! Live tail over a real WebSocket.

use std::sync::Arc;

use futures_util::StreamExt as _;
use model::{Labels, LogRecord};
use server::{Listener, router, serve};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::table::{NOW_MS, app_with_tail, open_access};

#[tokio::test]
async fn stored_lines_first_then_new_ones_each_once() {
    let (app, hub) = app_with_tail(open_access());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router(&app), 16, stop.clone()));
    let url = format!(
        "ws://{address}/loki/api/v1/tail?query=%7Bcontainer%3D%22web%22%7D%20%7C%3D%20%22line%22&limit=3"
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let first = next_lines(&mut socket).await;
    assert_eq!(first, ["line 7", "line 8", "line 9"]);

    let record = |t_ms: i64, line: &str| LogRecord {
        stream: Labels::from_pairs([("container", "web"), ("stream", "stdout")]),
        t_ns: t_ms * 1_000_000,
        line: line.to_owned(),
        fields: Labels::default(),
    };
    assert!(hub.has_listeners());
    let other = LogRecord {
        stream: Labels::from_pairs([("container", "db")]),
        ..record(NOW_MS, "line of another")
    };
    // The first was among the stored lines already; the second is filtered out; the third is another container's.
    let batch = vec![
        record(NOW_MS - 1_000, "line 9"),
        record(NOW_MS, "unwanted"),
        other,
        record(NOW_MS, "line 10"),
    ];
    hub.publish(Arc::new(batch.into_iter().collect()));
    assert_eq!(next_lines(&mut socket).await, ["line 10"]);

    hub.stop();
    stop.cancel();
    while let Some(Ok(message)) = socket.next().await {
        assert!(!matches!(message, Message::Text(_)), "{message}");
    }
    server.await.unwrap();
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn next_lines(socket: &mut Socket) -> Vec<String> {
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let values = json["streams"][0]["values"].as_array().unwrap();
        return values.iter().map(|v| v[1].as_str().unwrap().to_owned()).collect();
    }
}
