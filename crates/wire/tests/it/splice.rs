//! A mark changes the request at its own place and nowhere else.

use offpeak_wire::json::validate;
use offpeak_wire::request::{RequestView, Shape, Ttl};
use offpeak_wire::splice::MarkPoint;
use proptest::prelude::*;

use crate::written::written;

proptest! {
    #[test]
    fn a_mark_is_added_exactly_there(request in written(), hour in any::<bool>()) {
        let ttl = if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
        let original = request.text.as_bytes();
        let before = RequestView::parse(original).unwrap();
        for (index, block) in before.blocks().iter().enumerate() {
            let (_, part) = &request.blocks[index];
            let Some(point) = MarkPoint::of(block) else {
                prop_assert!(!part.markable);
                continue;
            };
            prop_assert!(part.markable);
            let marked = point.apply(original, ttl);
            prop_assert_eq!(validate(&marked), Ok(()));
            prop_assert_eq!(marked.len(), original.len() + point.added_len(ttl));
            prop_assert_eq!(point.pieces(original, ttl).concat(), &marked[..]);

            // Without the added pieces, which are not the request's own memory, it is the original.
            let own = original.as_ptr_range();
            let kept: Vec<&[u8]> = point
                .pieces(original, ttl)
                .into_iter()
                .filter(|piece| own.contains(&piece.as_ptr()))
                .collect();
            prop_assert_eq!(kept.concat(), original);

            let after = RequestView::parse(&marked).unwrap();
            prop_assert_eq!(after.marks(), before.marks() + 1);
            prop_assert_eq!(after.blocks().len(), before.blocks().len());
            for (other, (old, new)) in before.blocks().iter().zip(after.blocks()).enumerate() {
                prop_assert_eq!((old.section, old.kind), (new.section, new.kind));
                if other == index {
                    prop_assert_eq!(new.mark, Some(ttl));
                    prop_assert_eq!(new.shape, Shape::Object);
                    prop_assert_eq!(MarkPoint::of(new), None);
                } else {
                    prop_assert_eq!(old.mark, new.mark);
                    prop_assert_eq!(&original[old.span.clone()], &marked[new.span.clone()]);
                }
            }
            for ((key, old), (new_key, new)) in before.members().zip(after.members()) {
                prop_assert_eq!(key, new_key);
                if !(old.start <= block.span.start && block.span.end <= old.end) {
                    prop_assert_eq!(&original[old], &marked[new]);
                }
            }
        }
    }
}

#[test]
fn both_shapes_as_written() {
    let marked = |text: &str, ttl| {
        let view = RequestView::parse(text.as_bytes()).unwrap();
        let point = MarkPoint::of(&view.blocks()[0]).unwrap();
        String::from_utf8(point.apply(text.as_bytes(), ttl)).unwrap()
    };
    assert_eq!(
        marked(r#"{"system":"be brief","messages":[]}"#, Ttl::OneHour),
        r#"{"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[]}"#
    );
    assert_eq!(
        marked(r#"{"tools":[{"name":"t" } ]}"#, Ttl::FiveMinutes),
        r#"{"tools":[{"name":"t" ,"cache_control":{"type":"ephemeral","ttl":"5m"}} ]}"#
    );
}
