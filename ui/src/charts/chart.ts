// The only module that knows uPlot: time series as lines or stacked bars, markers, a shared crosshair,
// drag to zoom. Framework-free; the caller owns the element and the legend.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { formatTick, type Interval } from '../lib/time';
import { formatAxis, type Unit } from '../lib/units';
import { colours, type MarkerKind } from './palette';
import type { ThemeName } from '../lib/theme.svelte';

export interface ChartSeries {
  label: string;
  values: (number | null)[];
  color: string;
  dash?: number[];
  /** Opacity of the area under the line, 0 for none. */
  fill?: number;
  /** Values are negated to draw them below zero; people read them without the sign. */
  mirrored?: boolean;
  /** A limit or reference: drawn thin, and left out of the scale while the data stays far below it. */
  reference?: boolean;
}

export interface Marker {
  ms: number;
  label: string;
  kind: MarkerKind;
}

export interface ChartModel {
  times: number[];
  series: ChartSeries[];
  hidden: ReadonlySet<string>;
  markers: Marker[];
  interval: Interval;
  unit: Unit;
  theme: ThemeName;
  /** Bars stacked on each other instead of lines. */
  bars: boolean;
}

export interface Hover {
  index: number;
  left: number;
  top: number;
}

export interface ChartEvents {
  onZoom: (fromMs: number, toMs: number) => void;
  onZoomOut: () => void;
  onHover: (hover: Hover | null) => void;
}

export interface Chart {
  update: (model: ChartModel) => void;
  resize: (width: number, height: number) => void;
  destroy: () => void;
}

const FONT = '11px system-ui, Inter, sans-serif';
const BYTE_INCREMENTS = Array.from({ length: 60 }, (_, n) => 2 ** n);
const COUNT_INCREMENTS = Array.from({ length: 15 }, (_, n) => [1, 2, 5].map((digit) => digit * 10 ** n)).flat();
const SYNC_KEY = 'page';
// Wide enough for most labels, so that charts above each other share their left edge.
const MIN_AXIS_PX = 72;

/** Creates a chart inside `element`. `shared` joins the crosshair of the page. */
export function createChart(element: HTMLElement, first: ChartModel, events: ChartEvents, shared: boolean): Chart {
  let model = first;
  let plot = build();

  function build(): uPlot {
    const palette = colours(model.theme);
    const created = new uPlot(
      {
        width: Math.max(80, element.clientWidth),
        height: Math.max(60, element.clientHeight),
        padding: [8, 16, 0, 0],
        legend: { show: false },
        cursor: {
          x: true,
          y: false,
          points: { size: 6, width: 1.5, fill: palette.panel },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => (events.onZoomOut(), null) },
          // Only the crosshair is shared: a drag must not select in every chart.
          sync: shared ? { key: SYNC_KEY, filters: { pub: (type) => type === 'mousemove' || type === 'mouseleave' } } : undefined,
        },
        scales: {
          x: { time: true, range: () => [model.interval.fromMs / 1000, model.interval.toMs / 1000] },
          y: { range: () => yRange(model) },
        },
        axes: [
          {
            stroke: palette.axis,
            font: FONT,
            size: 26,
            gap: 4,
            space: 76,
            grid: { stroke: palette.grid, width: 1 },
            ticks: { show: false },
            values: (_plot, splits, _axis, _space, increment) => splits.map((at) => formatTick(at, increment)),
          },
          {
            stroke: palette.axis,
            font: FONT,
            gap: 4,
            space: 28,
            incrs: model.unit === 'bytes' || model.unit === 'bytesps' ? BYTE_INCREMENTS : model.unit === 'count' ? COUNT_INCREMENTS : undefined,
            grid: { stroke: palette.grid, width: 1 },
            ticks: { show: false },
            size: (_plot, values) => Math.max(MIN_AXIS_PX, ...(values ?? []).map((text) => text.length * 6.4 + 12)),
            values: (_plot, splits) => splits.map((value) => formatAxis(Math.abs(value) < 1e-12 ? 0 : model.series.some((s) => s.mirrored) ? Math.abs(value) : value, model.unit)),
          },
        ],
        series: [{}, ...drawn(model).map((series) => seriesOptions(series, model.bars))],
        hooks: {
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const fromMs = self.posToVal(self.select.left, 'x') * 1000;
              const toMs = self.posToVal(self.select.left + self.select.width, 'x') * 1000;
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              events.onZoom(fromMs, toMs);
            },
          ],
          setCursor: [
            (self) => {
              const { idx, left = -1, top = -1 } = self.cursor;
              const own = self.over.matches(':hover');
              events.onHover(own && left >= 0 && idx !== null && idx !== undefined ? { index: idx, left: left + self.bbox.left / devicePixelRatio, top } : null);
            },
          ],
          draw: [(self) => drawMarkers(self, model)],
        },
      },
      columns(model),
      element,
    );
    return created;
  }

  return {
    update(next) {
      const rebuild = signature(next) !== signature(model);
      model = next;
      if (rebuild) {
        plot.destroy();
        plot = build();
      } else {
        plot.setData(columns(model));
      }
    },
    resize(width, height) {
      if (width > 0 && (Math.abs(width - plot.width) > 0.5 || Math.abs(height - plot.height) > 0.5)) plot.setSize({ width, height });
    },
    destroy() {
      plot.destroy();
    },
  };
}

// Stacked bars are drawn from the tallest total down, so lower ones cover what is not theirs.
function drawn(model: ChartModel): ChartSeries[] {
  const shown = model.series.filter((series) => !model.hidden.has(series.label));
  return model.bars ? shown.reverse() : shown;
}

function columns(model: ChartModel): uPlot.AlignedData {
  if (!model.bars) return [model.times, ...drawn(model).map((series) => series.values)];
  const running = new Array<number>(model.times.length).fill(0);
  const stacked = [...drawn(model)].reverse().map((series) =>
    series.values.map((value, index) => {
      running[index] = running[index]! + (value ?? 0);
      return running[index]! === 0 ? null : running[index]!;
    }),
  );
  return [model.times, ...stacked.reverse()];
}

function signature(model: ChartModel): string {
  return JSON.stringify([model.theme, model.unit, model.bars, drawn(model).map((s) => [s.label, s.color, s.dash, s.fill, s.reference, s.mirrored])]);
}

function seriesOptions(series: ChartSeries, bars: boolean): uPlot.Series {
  if (bars) {
    return {
      label: series.label,
      fill: series.color,
      width: 0,
      points: { show: false },
      paths: uPlot.paths.bars!({ size: [0.82, 40], align: 1 }),
    };
  }
  return {
    label: series.label,
    stroke: series.color,
    width: series.reference ? 1 : 1.5,
    dash: series.reference ? [6, 4] : series.dash,
    fill: series.fill ? alpha(series.color, series.fill) : undefined,
    spanGaps: false,
    // A lone sample between gaps has no line; its point keeps it visible.
    points: { show: !series.reference, filter: (self, index, show) => (show ? loneSamples(self.data[index]!) : null), size: 4 },
  };
}

function loneSamples(values: ArrayLike<number | null | undefined>): number[] {
  const lone: number[] = [];
  for (let index = 0; index < values.length; index += 1) {
    if (values[index] != null && values[index - 1] == null && values[index + 1] == null) lone.push(index);
  }
  return lone;
}

function alpha(hex: string, opacity: number): string {
  return `${hex}${Math.round(opacity * 255).toString(16).padStart(2, '0')}`;
}

function yRange(model: ChartModel): [number, number] {
  let min = 0;
  let max = 0;
  let reference = 0;
  if (model.bars) {
    for (const column of columns(model).slice(1, 2)) for (const value of column) max = Math.max(max, Number(value ?? 0));
  } else {
    for (const series of drawn(model)) {
      for (const value of series.values) {
        if (value === null) continue;
        if (series.reference) reference = Math.max(reference, value);
        else {
          min = Math.min(min, value);
          max = Math.max(max, value);
        }
      }
    }
    if (max >= reference / 2) max = Math.max(max, reference);
  }
  if (min === 0 && max === 0) return [0, 1];
  const room = (max - min) * 0.06;
  return [min === 0 ? 0 : min - room, max === 0 ? 0 : max + room];
}

function drawMarkers(self: uPlot, model: ChartModel): void {
  const { ctx, bbox } = self;
  const palette = colours(model.theme);
  const ratio = devicePixelRatio;
  ctx.save();
  for (const marker of model.markers) {
    if (marker.ms < model.interval.fromMs || marker.ms > model.interval.toMs) continue;
    const x = Math.round(self.valToPos(marker.ms / 1000, 'x', true));
    ctx.strokeStyle = palette.marker[marker.kind];
    ctx.fillStyle = palette.marker[marker.kind];
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 4 * ratio, bbox.top - 5 * ratio);
    ctx.lineTo(x + 4 * ratio, bbox.top - 5 * ratio);
    ctx.lineTo(x, bbox.top + 2 * ratio);
    ctx.fill();
  }
  ctx.restore();
}
