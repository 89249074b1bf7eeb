//! Result columns: written by their own stage, read by later layers, and by no other stage.

use super::{LONG, Outcome, Polled, StageSpec, by_hand, done, publish, tiny_spec};
use crate::pipeline::{
    ColumnError, ColumnReader, ColumnWriter, LaneError, LaneSpec, PanicPolicy, Stage, View,
};

fn two_layers() -> LaneSpec {
    tiny_spec(
        8,
        vec![vec![StageSpec::inline("a"), StageSpec::inline("b")], vec![StageSpec::inline("c")]],
    )
}

fn column(spec: &LaneSpec, stage: &str) -> (ColumnWriter<f32>, ColumnReader<f32>) {
    spec.column(stage, 2).expect("the stage was specified")
}

/// The column's result for the first event that a stage sees. The event isn't processed.
fn ask(
    stage: &mut Stage<u64>,
    mut question: impl FnMut(View<'_, u64>) -> Option<ColumnError>,
) -> Option<ColumnError> {
    let mut answer = None;
    let polled = stage.poll(1, |view| {
        answer = question(view);
        Outcome::Retry
    });
    assert_eq!(polled, Ok(Polled::Retry(0)));
    answer
}

#[test]
fn a_later_layer_reads_what_the_columns_stage_wrote() {
    let spec =
        tiny_spec(4, vec![vec![StageSpec::thread("score")], vec![StageSpec::thread("sink")]]);
    let (mut writer, reader) = column(&spec, "score");
    let mut started = spec.start::<u64>().unwrap();
    let score = move |view: View<'_, u64>| {
        let row = writer.row(&view).expect("its own view");
        assert!(
            row[1] == 0.0 || row[1] == (*view.meta() - 4) as f32,
            "a lap ago this row was written here"
        );
        row.copy_from_slice(&[view.bytes().len() as f32, *view.meta() as f32]);
        done(view)
    };
    let sink = move |view: View<'_, u64>| {
        let row = reader.clone().row(&view).map(<[f32]>::to_vec).expect("a later layer");
        assert_eq!(row, [view.bytes().len() as f32, *view.meta() as f32]);
        done(view)
    };
    let threads = [
        started.stages.remove("score").unwrap().spawn(score).unwrap(),
        started.stages.remove("sink").unwrap().spawn(sink).unwrap(),
    ];
    let mut next = 0;
    while next < if cfg!(miri) { 20 } else { 2000 } {
        if super::push_number(&mut started.lane, next).is_ok() {
            next += 1;
        } else if started.lane.poll().is_idle() {
            started.lane.wait(true, LONG);
        }
    }
    assert!(started.lane.close(LONG).is_drained());
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().error, None));
}

#[test]
fn other_stages_and_other_lanes_are_refused() {
    let spec = two_layers();
    let (mut writer, reader) = column(&spec, "a");
    let mut started = spec.start::<u64>().unwrap();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| started.stages.remove(name).unwrap());
    publish(&mut started.lane, [0]);
    let (mut other, [mut stranger]) = by_hand(|spec| spec, ["a"]);
    publish(&mut other, [0]);

    assert_eq!(
        ask(&mut stranger, |view| writer.row(&view).map(drop).err()),
        Some(ColumnError::OtherLane)
    );
    assert_eq!(
        ask(&mut stranger, |view| reader.row(&view).map(drop).err()),
        Some(ColumnError::OtherLane)
    );
    assert_eq!(
        ask(&mut b, |view| writer.row(&view).map(drop).err()),
        Some(ColumnError::WrongStage),
        "beside it"
    );
    for stage in [&mut a, &mut b] {
        let answer = ask(stage, |view| reader.row(&view).map(drop).err());
        assert_eq!(
            answer,
            Some(ColumnError::WrongStage),
            "no stage of its own layer reads while it may write"
        );
    }
    assert_eq!(ask(&mut a, |view| writer.row(&view).map(|row| row.fill(1.5)).err()), None);
    [&mut a, &mut b]
        .into_iter()
        .for_each(|stage| assert_eq!(stage.poll(1, done), Ok(Polled::Advanced(1))));
    assert_eq!(
        ask(&mut c, |view| writer.row(&view).map(drop).err()),
        Some(ColumnError::WrongStage),
        "nor later"
    );
    assert_eq!(
        ask(&mut c, |view| reader.row(&view).map(|row| assert_eq!(row, [1.5; 2])).err()),
        None
    );
}

#[test]
fn a_row_is_written_through_a_held_too() {
    let spec = two_layers();
    let (mut writer, reader) = column(&spec, "a");
    let mut started = spec.start::<u64>().unwrap();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| started.stages.remove(name).unwrap());
    publish(&mut started.lane, 0..3);
    let held = a.read(3).unwrap().unwrap();
    for view in held.views() {
        writer.row(&view).unwrap().fill(*view.meta() as f32);
    }
    a.release(held).unwrap();
    b.poll(3, done).unwrap();
    let check = |view: View<'_, u64>| {
        assert_eq!(reader.row(&view).unwrap(), [*view.meta() as f32; 2]);
        Outcome::Done
    };
    assert_eq!(c.poll(3, check), Ok(Polled::Advanced(3)));
}

#[test]
fn events_that_a_dead_stage_did_not_process_have_no_row() {
    let spec = tiny_spec(8, vec![vec![StageSpec::inline("a")], vec![StageSpec::inline("c")]]);
    let spec = spec.on_panic(PanicPolicy::Detach);
    let (mut writer, reader) = column(&spec, "a");
    let mut started = spec.start::<u64>().unwrap();
    let [mut a, mut c] = ["a", "c"].map(|name| started.stages.remove(name).unwrap());
    publish(&mut started.lane, 0..4);
    let dying = |view: View<'_, u64>| {
        writer.row(&view).unwrap().fill(7.0);
        if *view.meta() == 2 { panic!("half of the row is written") } else { Outcome::Done }
    };
    a.poll(4, dying).unwrap_err();
    started.lane.poll();
    let mut rows = Vec::new();
    let look = |view: View<'_, u64>| {
        rows.push(reader.row(&view).map(|row| row[0]));
        Outcome::Done
    };
    assert_eq!(c.poll(4, look), Ok(Polled::Advanced(4)));
    assert_eq!(
        rows,
        [Ok(7.0), Ok(7.0), Err(ColumnError::NotWritten), Err(ColumnError::NotWritten)]
    );
}

#[test]
fn a_column_that_does_not_fit_names_its_field() {
    let field = |spec: &LaneSpec, stage: &str, width| match spec.column::<u64>(stage, width) {
        Err(LaneError::Option { field, .. }) => field,
        other => panic!("{:?}", other.map(drop)),
    };
    let spec = two_layers();
    assert_eq!((field(&spec, "a", 0), field(&spec, "unknown", 1)), ("width", "stage"));
    assert_eq!(
        (field(&spec, "a", usize::MAX), field(&spec, "c", usize::MAX / 64)),
        ("width", "width")
    );
    assert_eq!(field(&tiny_spec(3, vec![vec![StageSpec::inline("a")]]), "a", 1), "slots");
}
