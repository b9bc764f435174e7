// What the page draws, and no more: esbuild leaves out whatever is not named here.
import { BarChart, LineChart, ScatterChart, TreemapChart } from "echarts/charts";
import {
  AriaComponent,
  DataZoomComponent,
  GridComponent,
  LegendComponent,
  MarkLineComponent,
  TooltipComponent,
} from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

use([BarChart, LineChart, ScatterChart, TreemapChart]);
use([AriaComponent, DataZoomComponent, GridComponent, LegendComponent, MarkLineComponent]);
use([TooltipComponent, SVGRenderer]);

export { init };
