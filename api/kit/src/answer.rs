//! The answers of handlers. `Json<T>` is poem's and means 200; the others have their status in
//! their name.

use jobs::Id;
use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ParseFromJSON, ToJSON, Type},
};

use crate::{Always, ApiError, TypeId};

/// A handler's answer: `Answer<Json<Team>>`, `Answer<Created<Team>>`, `Answer<NoContent>`.
pub type Answer<T> = Result<T, ApiError>;

/// A Platform handler's answer, 200: `Ok(Json(can.wrap(report)))`.
pub type Wrapped<T> = Answer<Json<Envelope<T>>>;

/// A Platform handler's answer, 201: `Ok(Created(can.wrap(report)))`.
pub type CreatedWrapped<T> = Answer<Created<Envelope<T>>>;

/// 201, with what was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created<T>(pub T);

/// 202: accepted, the work continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<T>(pub T);

/// 204, without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoContent;

/// The documentation of a JSON answer with that status.
fn documented<T: Type>(status: StatusCode) -> MetaResponses {
    MetaResponses {
        responses: vec![MetaResponse {
            description: "",
            status: Some(status.as_u16()),
            status_range: None,
            content: vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }],
            headers: vec![],
        }],
    }
}

/// Makes a wrapper an answer with a status.
macro_rules! answers_with {
    ($name:ident, $status:expr) => {
        impl<T: ToJSON> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                Json(self.0).with_status($status).into_response()
            }
        }

        impl<T: ToJSON> ApiResponse for $name<T> {
            fn meta() -> MetaResponses {
                documented::<T>($status)
            }

            fn register(registry: &mut Registry) {
                T::register(registry);
            }
        }
    };
}

answers_with!(Created, StatusCode::CREATED);
answers_with!(Accepted, StatusCode::ACCEPTED);

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl ApiResponse for NoContent {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "",
                status: Some(StatusCode::NO_CONTENT.as_u16()),
                status_range: None,
                content: vec![],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}

/// Envelope of an answer of the Platform API.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Envelope<T: ParseFromJSON + ToJSON> {
    /// Always true; errors have an envelope of their own.
    pub success: Always<true>,
    /// Content of the answer.
    pub data: T,
    /// Request id, for support.
    pub request_id: String,
}

impl<T: ParseFromJSON + ToJSON> Envelope<T> {
    /// Wraps an answer to a request.
    pub fn new(data: T, request_id: impl Into<String>) -> Self {
        Self { success: Always, data, request_id: request_id.into() }
    }
}

/// The Platform API's answer to a DELETE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct Deleted<I: ParseFromJSON + ToJSON> {
    /// Id of the deleted resource.
    pub id: I,
    /// Always true.
    pub deleted: Always<true>,
}

impl<I: Id> Deleted<TypeId<I>> {
    /// The answer to a completed deletion.
    pub fn new(id: I) -> Self {
        Self { id: TypeId(id), deleted: Always }
    }
}
