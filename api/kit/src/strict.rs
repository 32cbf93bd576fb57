//! Requests may contain only what the operation declares: an unknown query parameter or member of a body is
//! refused by name, so that a misspelt filter doesn't silently filter nothing. A method that a path doesn't
//! support is answered with the supported ones.
//!
//! Of answers, it formats times (see [`crate::times`]); for an invalid value of a closed set, it lists the
//! allowed values.
//!
//! [`Strict`] wraps the sections of a surface, and reads what they declare from the same metadata as the
//! documents.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use domain::FieldErrors;
use poem::{
    Endpoint, EndpointExt, Request, Response,
    endpoint::{BoxEndpoint, make},
    error::ResponseError,
    http::Method,
};
use poem_openapi::{
    OpenApi,
    error::ParseParamError,
    registry::{MetaApi, MetaOperation, MetaParamIn, MetaSchema, MetaSchemaRef, Registry},
};
use serde_json::Value;
use url::form_urlencoded;

use crate::{ApiError, body::diagnosis, error::MAX_NAMED, times::Plans};

/// The methods that a path may support. HEAD is answered as GET is.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Whether the service supports a method at all.
pub(crate) fn is_known(method: &Method) -> bool {
    *method == Method::HEAD || METHODS.contains(method)
}

/// The sections of a surface, which accept only what they declare.
pub struct Strict<T>(pub T);

impl<T: OpenApi> OpenApi for Strict<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let mut registry = Registry::new();
        T::register(&mut registry);
        let registry = Arc::new(registry);
        let mut plans = Plans::default();
        let mut declared = HashMap::new();
        for operation in T::meta().into_iter().flat_map(|api| api.paths).flat_map(|path| {
            let shown = path.path;
            path.operations.into_iter().map(move |operation| (shown.clone(), operation))
        }) {
            let (shown, operation) = operation;
            let key = (shape(&shown), operation.method.clone());
            declared.insert(key, Declared::of(&operation, Arc::clone(&registry), &mut plans));
        }
        let plans = Arc::new(plans);
        let mut inner = HashMap::new();
        self.0.add_routes(&mut inner);
        for (path, methods) in inner {
            let allowed = allow(methods.keys());
            let here = routes.entry(path.clone()).or_default();
            for method in METHODS.iter().filter(|method| !methods.contains_key(*method)) {
                here.insert(method.clone(), refusing(allowed.clone()));
            }
            for (method, endpoint) in methods {
                let endpoint = match declared.remove(&(shape(&path), method.clone())) {
                    Some(declared) => checked(Arc::new(declared), Arc::clone(&plans), endpoint),
                    None => endpoint,
                };
                here.insert(method, endpoint);
            }
        }
    }
}

/// A path regardless of its parameters' names, as documents (`{id}`) and routes (`:id`) write it.
fn shape(path: &str) -> String {
    let segment =
        |part: &str| if part.starts_with(['{', ':', '*']) { "{}".to_owned() } else { part.to_owned() };
    path.trim_matches('/').split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The value of `Allow`.
fn allow<'a>(methods: impl Iterator<Item = &'a Method>) -> String {
    let mut names: BTreeSet<&str> = methods.map(Method::as_str).collect();
    if names.contains("GET") {
        names.insert("HEAD");
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn refusing(allowed: String) -> BoxEndpoint<'static> {
    make(move |_| {
        let error = ApiError::method_not_allowed(allowed.clone());
        async move { Err::<Response, poem::Error>(error.into()) }
    })
    .boxed()
}

fn checked(
    declared: Arc<Declared>,
    plans: Arc<Plans>,
    endpoint: BoxEndpoint<'static>,
) -> BoxEndpoint<'static> {
    let endpoint = Arc::new(endpoint);
    make(move |mut request: Request| {
        let (declared, plans, endpoint) = (Arc::clone(&declared), Arc::clone(&plans), Arc::clone(&endpoint));
        async move {
            declared.check_query(&request)?;
            request.set_data(Arc::clone(&declared));
            match endpoint.call(request).await {
                Ok(response) => Ok(declared.tidy(&plans, response).await),
                Err(error) => Err(declared.explain(error)),
            }
        }
    })
    .boxed()
}

/// The declaration of an operation.
pub(crate) struct Declared {
    query: BTreeSet<String>,
    body: Option<MetaSchemaRef>,
    /// The allowed values of parameters with a closed set.
    values: HashMap<String, Vec<Value>>,
    /// The plan of each JSON answer, by status.
    times: Vec<(u16, usize)>,
    registry: Arc<Registry>,
}

impl Declared {
    fn of(operation: &MetaOperation, registry: Arc<Registry>, plans: &mut Plans) -> Self {
        let parameters = operation.params.iter().filter(|parameter| parameter.in_type == MetaParamIn::Query);
        let mut query: BTreeSet<String> = parameters.map(|parameter| parameter.name.clone()).collect();
        // A credential may be in the query, too.
        for scheme in operation.security.iter().flat_map(HashMap::keys) {
            let scheme = registry.security_schemes.get(scheme);
            query.extend(
                scheme
                    .filter(|scheme| scheme.key_in == Some("query"))
                    .and_then(|scheme| scheme.name)
                    .map(str::to_owned),
            );
        }
        let body = operation.request.as_ref().and_then(|request| {
            request
                .content
                .iter()
                .find(|media| media.content_type == "application/json")
                .map(|media| media.schema.clone())
        });
        let mut values = HashMap::new();
        for parameter in &operation.params {
            if let Some(listed) = values_of(&parameter.schema, &registry) {
                values.insert(parameter.name.clone(), listed);
            }
        }
        let mut times = Vec::new();
        for response in &operation.responses.responses {
            // Errors have no times.
            let status = response.status.filter(|status| *status < 300);
            let media =
                response.content.iter().find(|media| media.content_type.starts_with("application/json"));
            if let Some((status, media)) = status.zip(media) {
                times.push((status, plans.add(&media.schema, &registry)));
            }
        }
        Self { query, body, values, times, registry }
    }

    /// The answer with its times in the common form.
    async fn tidy(&self, plans: &Plans, mut response: Response) -> Response {
        let status = response.status().as_u16();
        let plan = self.times.iter().find(|(known, _)| *known == status);
        let is_json = response.content_type().is_some_and(|ty| ty.starts_with("application/json"));
        let Some((_, plan)) = plan.filter(|_| is_json) else { return response };
        match response.take_body().into_bytes().await {
            Ok(body) => match plans.tidy(*plan, &body) {
                Some(tidy) => response.set_body(tidy),
                None => response.set_body(body),
            },
            // JSON answers are complete here.
            Err(error) => return ApiError::internal(error).as_response(),
        }
        response
    }

    /// The framework reports a value outside a closed set, without the allowed values.
    fn explain(&self, error: poem::Error) -> poem::Error {
        let Some(parameter) = error.downcast_ref::<ParseParamError>() else { return error };
        let listed =
            self.values.get(parameter.name).filter(|_| parameter.reason.contains("enumeration value"));
        match listed {
            Some(values) => {
                let values: Vec<_> = values.iter().map(plain).collect();
                ApiError::invalid(parameter.name, format!("must be one of {}", values.join(", "))).into()
            }
            None => error,
        }
    }

    fn check_query(&self, request: &Request) -> Result<(), ApiError> {
        let Some(query) = request.uri().query() else { return Ok(()) };
        let mut unknown = FieldErrors::new();
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            if !name.is_empty() && !self.query.contains(&*name) && unknown.len() < MAX_NAMED {
                unknown.insert(shown(&name), vec![self.parameters()]);
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(ApiError::unknown(unknown)) }
    }

    fn parameters(&self) -> String {
        match self.query.len() {
            0 => "is unknown; there are no parameters".to_owned(),
            _ => format!(
                "is unknown; allowed are {}",
                self.query.iter().cloned().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// The members of a body that its schema doesn't have, the first [`MAX_NAMED`] of them, by path.
    pub(crate) fn unknown_members(&self, body: &Value) -> FieldErrors {
        let mut unknown = FieldErrors::new();
        if let Some(schema) = &self.body {
            self.walk(schema, body, "", &mut unknown);
        }
        unknown
    }

    /// Whether a body has a number or a boolean where its schema has a text.
    pub(crate) fn has_loose_text(&self, body: &Value) -> bool {
        self.body.as_ref().is_some_and(|schema| diagnosis::has_loose_text(&self.registry, schema, body))
    }

    fn resolve<'a>(&'a self, schema: &'a MetaSchemaRef) -> Option<&'a MetaSchema> {
        match schema {
            MetaSchemaRef::Inline(schema) => Some(schema),
            MetaSchemaRef::Reference(name) => self.registry.schemas.get(name),
        }
    }

    fn walk(&self, schema: &MetaSchemaRef, value: &Value, path: &str, unknown: &mut FieldErrors) {
        let Some(schema) = self.resolve(schema) else { return };
        match value {
            Value::Object(members) => {
                let Some(known) = self.members(schema) else { return };
                for (name, value) in members {
                    if unknown.len() >= MAX_NAMED {
                        return;
                    }
                    let path = join(path, name);
                    if let Some((_, schema)) = known.iter().find(|(known, _)| known == name) {
                        self.walk(schema, value, &path, unknown);
                    } else {
                        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                        let reason = format!("is unknown; allowed are {}", names.join(", "));
                        unknown.insert(shown(&path), vec![reason]);
                    }
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let Some(schema) = self.item(schema) {
                        self.walk(schema, item, &join(path, &i.to_string()), unknown);
                    }
                }
            }
            _ => {}
        }
    }

    /// The names of an object's members; `None` where any are allowed.
    fn members<'a>(&'a self, schema: &'a MetaSchema) -> Option<Vec<(&'a str, &'a MetaSchemaRef)>> {
        if schema.additional_properties.is_some() || !schema.any_of.is_empty() || !schema.one_of.is_empty() {
            return None;
        }
        let mut all: Vec<_> = schema.properties.iter().map(|(name, schema)| (*name, schema)).collect();
        let mut is_open = schema.properties.is_empty() && !schema.ty.is_empty();
        for part in &schema.all_of {
            // A part without a type only annotates.
            if let Some(part) = self.resolve(part).filter(|part| !part.ty.is_empty()) {
                all.extend(self.members(part)?);
                is_open = false;
            }
        }
        (!all.is_empty() && !is_open).then_some(all)
    }

    fn item<'a>(&'a self, schema: &'a MetaSchema) -> Option<&'a MetaSchemaRef> {
        let within =
            || schema.all_of.iter().filter_map(|part| self.resolve(part)).find_map(|part| self.item(part));
        schema.items.as_deref().or_else(within)
    }
}

/// The values of a schema with a closed set; those of its items for a list.
fn values_of(schema: &MetaSchemaRef, registry: &Registry) -> Option<Vec<Value>> {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => registry.schemas.get(name)?,
    };
    if !schema.enum_items.is_empty() {
        return Some(schema.enum_items.clone());
    }
    let items = schema.items.as_deref().into_iter();
    items.chain(&schema.all_of).find_map(|part| values_of(part, registry))
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name or path from a request, without control characters. A long one is cut in the middle: its
/// end names the error.
pub(crate) fn shown(path: &str) -> String {
    const MAX_SHOWN: usize = 100;
    let clean: Vec<char> = path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if clean.len() <= MAX_SHOWN {
        return clean.into_iter().collect();
    }
    let name = clean.iter().rev().position(|c| *c == '.').unwrap_or(clean.len());
    let (head, tail) = match name {
        // The last member completely, and as much of its position as fits.
        1..MAX_SHOWN => (MAX_SHOWN - name - 1, name),
        _ => (MAX_SHOWN / 2, MAX_SHOWN / 2 - 1),
    };
    clean[..head].iter().chain(&['\u{2026}']).chain(&clean[clean.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use poem::{IntoResponse, test::TestClient};
    use poem_openapi::{Object, OpenApi, OpenApiService, payload::PlainText};
    use serde_json::json;

    use super::*;
    use crate::Body;

    #[derive(Object)]
    struct NewThing {
        name: String,
        note: Option<String>,
        labels: Vec<String>,
        texts: HashMap<String, String>,
        anything: Value,
        parts: Option<Vec<Part>>,
    }

    #[derive(Object)]
    struct Part {
        name: String,
    }

    struct Api;

    #[OpenApi]
    impl Api {
        #[oai(path = "/things", method = "post")]
        async fn create(&self, thing: Body<NewThing>) -> PlainText<String> {
            PlainText(thing.0.name)
        }
    }

    #[tokio::test]
    async fn a_number_or_a_boolean_is_no_text() {
        let service = OpenApiService::new(Strict(Api), "test", "1");
        let service = TestClient::new(service.around(async |next, request| {
            Ok::<_, poem::Error>(match next.call(request).await {
                Ok(response) => response.into_response(),
                Err(error) => ApiError::of_framework(error).to_string().into_response(),
            })
        }));
        let good =
            json!({ "name": "n", "labels": ["l"], "texts": { "a": "b" }, "anything": 1, "note": null });
        let reply = async |at: &str, value: Value| {
            let mut thing = good.clone();
            *thing.pointer_mut(at).expect("it is there") = value;
            let response = service.post("/things").body_json(&thing).send().await;
            response.0.into_body().into_string().await.expect("it is text")
        };
        for (at, named) in
            [("/name", "name"), ("/note", "note"), ("/labels/0", "labels.0"), ("/texts/a", "texts.a")]
        {
            for value in [json!(5), json!(1.5), json!(true)] {
                assert_eq!(reply(at, value).await, format!("record_invalid: {named}: must be a string"));
            }
        }
        for value in [json!(5), json!(true), json!("x"), json!({ "a": 1 })] {
            assert_eq!(reply("/anything", value).await, "n");
        }
    }

    #[test]
    fn a_long_path_is_cut_before_its_last_member() {
        assert_eq!(shown("fields.0.label"), "fields.0.label");
        assert_eq!(shown("a\u{7}b"), "a\u{fffd}b");
        let cut = shown(&format!("{}.feild", vec!["fields"; 40].join(".")));
        assert!(cut.starts_with("fields.fields.") && cut.ends_with("\u{2026}feild"), "{cut}");
        assert_eq!(cut.chars().count(), 100);
        for long in ["x".repeat(500), format!("a.{}", "x".repeat(500)), format!("{}.", "x".repeat(500))] {
            assert_eq!(shown(&long).chars().count(), 100);
        }
    }
}
