//! `/api/openapi.json`: what is described is there.

use axum::http::Method;
use serde_json::Value;

use crate::harness::{TestSite, request};

/// A path with something in the place of its parameters.
fn filled(path: &str, item: &Value) -> String {
    let parameters = item["parameters"].as_array().cloned().unwrap_or_default();
    parameters.iter().fold(path.to_owned(), |path, parameter| {
        let example = &parameter["example"];
        let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &example)
    })
}

#[tokio::test]
async fn each_route_that_is_described_is_there_and_shut_for_strangers_as_it_says() {
    let site = TestSite::new("centre");
    let stranger = "198.51.100.7:40000";
    let asked = request(Method::GET, "/api/openapi.json", &[], "");
    let described = site.send_from(stranger, asked).await.expect(200).json();
    assert_eq!(described["openapi"], "3.1.0");
    let mut count = 0;
    for (path, item) in described["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
        for (method, told) in methods {
            let method: Method = method.to_uppercase().parse().unwrap();
            let open = told["security"].as_array().is_some_and(Vec::is_empty);
            let asked = request(method.clone(), &filled(path, item), &[], "");
            let status = site.send_from(stranger, asked).await.status.as_u16();
            match open {
                // What a stranger says without a body may be wrong.
                true => assert!([200, 400, 422].contains(&status), "{method} {path}: {status}"),
                false => assert_eq!(status, 401, "{method} {path}"),
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}
