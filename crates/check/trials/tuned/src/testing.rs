//! What tests use: stand-ins for servers, and clients of browsers.

use std::mem;

use trials::Case;

use crate::servers;

pub fn cases() -> Vec<Case> {
    [wiremock(), mockito(), httpmock(), httptest(), browsers()].into_iter().flatten().collect()
}

fn wiremock() -> Vec<Case> {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};
    let with_mock = |server: MockServer| async move {
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        server
    };
    vec![
        Case::of("wiremock", move || async move { with_mock(MockServer::start().await).await })
            .when("of the pool"),
        Case::of("wiremock", move || async move {
            with_mock(MockServer::builder().start().await).await
        })
        .when("of its own"),
        Case::of("wiremock", || async {
            let server = MockServer::start().await;
            let mock = Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200));
            let guard = mock.mount_as_scoped(&server).await;
            mem::forget(server);
            guard
        })
        .when("before its server"),
        Case::of("wiremock", || async {
            let server = MockServer::start().await;
            let mock = Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200));
            mock.mount_as_scoped(&server).await
        })
        .when("after its server"),
    ]
}

fn mockito() -> Vec<Case> {
    use mockito::Server;
    vec![
        Case::of("mockito", || async {
            let mut server = Server::new_async().await;
            mem::forget(server.mock("GET", "/").create_async().await);
            server
        }),
        Case::of("mockito", || async {
            let mut server = Server::new_async().await;
            let mock = server.mock("GET", "/").create_async().await;
            mem::forget(server);
            mock
        })
        .when("before its server"),
        Case::of("mockito", || async {
            let mut server = Server::new_async().await;
            server.mock("GET", "/").create_async().await
        })
        .when("after its server"),
    ]
}

fn httpmock() -> Vec<Case> {
    use httpmock::MockServer;
    vec![Case::of("httpmock", || async {
        let server = MockServer::start_async().await;
        server
            .mock_async(|when, then| {
                when.path("/");
                then.status(200);
            })
            .await;
        server
    })]
}

fn httptest() -> Vec<Case> {
    vec![Case::of("httptest", || async { ::httptest::Server::run() })]
}

/// The answer to every command, also to the one that begins a session.
const SESSION: &str = r#"{"value":{"sessionId":"a","capabilities":{}}}"#;

fn browsers() -> Vec<Case> {
    let fantoccini = || async {
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let url = servers::http(SESSION).await;
        fantoccini::ClientBuilder::new(connector).connect(&url).await.expect("a session")
    };
    let thirtyfour = || async {
        let browser = thirtyfour::DesiredCapabilities::firefox();
        thirtyfour::WebDriver::new(servers::http(SESSION).await, browser).await.expect("a session")
    };
    vec![
        Case::of("fantoccini", fantoccini).when("open"),
        Case::of("fantoccini", move || async move {
            let client = fantoccini().await;
            client.clone().close().await.expect("closed");
            client
        })
        .when("closed"),
        Case::of("thirtyfour", thirtyfour).when("open"),
        Case::of("thirtyfour", move || async move {
            let driver = thirtyfour().await;
            driver.clone().quit().await.expect("quit");
            driver
        })
        .when("quit"),
    ]
}
